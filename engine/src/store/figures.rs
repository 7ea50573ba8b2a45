//! Kept figures: what a tree occupied when somebody last looked, and for how long that is as good as looking again.
//!
//! A figure is a small file and no row, because starting and ending a container writes no row. Losing one costs a walk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::container_state::{Shelf, read, write};
use super::{Store, private_directory};
use crate::storage::Usage;

/// A figure that may have changed is used for so many times what it cost to take. So listings spend at most a twentieth
/// of the time on walks, however often somebody asks.
const WORTH: i64 = 20;

/// The file in a container's directory.
const SIZE: &str = "size.json";

/// What a tree occupied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figure {
    bytes: u64,
    inodes: u64,
    /// What was looked at: another driver's tree, or another directory of that name, has other figures.
    subject: String,
    /// Whoever writes forgets the figure first, but after a power cut the writing may be on disk and the forgetting not.
    boot: String,
    /// Microseconds since 1970.
    taken: i64,
    /// Microseconds.
    cost: i64,
    /// Nobody could write while it was taken.
    exact: bool,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    /// Somebody is looking. Whoever can write meanwhile takes this away, and then what was found out is not kept.
    Begun(String),
    /// This.
    Figure(Figure),
}

impl Figure {
    /// Takes a figure.
    pub(crate) fn take<E>(
        subject: &str,
        boot: &str,
        exact: bool,
        look: impl FnOnce() -> Result<Usage, E>,
    ) -> Result<Figure, E> {
        let (started, taken) = (Instant::now(), now());
        let Usage { bytes, inodes } = look()?;
        let cost = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        Ok(Figure { bytes, inodes, subject: subject.to_owned(), boot: boot.to_owned(), taken, cost, exact })
    }

    /// What it says.
    pub(crate) fn usage(&self) -> Usage {
        Usage { bytes: self.bytes, inodes: self.inodes }
    }

    /// True when it can be shown, if need be, of this subject.
    pub(crate) fn is_of(&self, subject: &str, boot: &str) -> bool {
        self.subject == subject && self.boot == boot
    }

    /// True when nothing can have changed since.
    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// True when it is worth a look. A clock that was set back makes every figure due.
    pub(crate) fn is_due(&self) -> bool {
        let age = now() - self.taken;
        age < 0 || age > self.cost.saturating_mul(WORTH)
    }

    /// When it was taken, to sort by.
    pub(crate) fn taken(&self) -> i64 {
        self.taken
    }
}

impl Store {
    /// A container's kept figure.
    pub(crate) fn container_figure(&self, id: &str) -> Option<Kept> {
        read(&self.directories(id).state.join(SIZE)).ok().flatten()
    }

    /// The same for one of many.
    pub(crate) fn container_figure_on(shelf: &Shelf, id: &str) -> Option<Kept> {
        shelf.read(id, SIZE).ok().flatten()
    }

    /// Keeps a container's figure, for whoever has the claim. One that cannot be kept is taken again.
    pub(crate) fn keep_container_figure(&self, id: &str, kept: &Kept) {
        let _ = write(&self.directories(id).state.join(SIZE), kept);
    }

    /// Forgets a container's figure, for whoever has the claim and is about to let somebody write.
    pub(crate) fn forget_container_figure(&self, id: &str) {
        let _ = std::fs::OpenOptions::new().write(true).truncate(true).open(self.directories(id).state.join(SIZE));
    }

    /// A volume's kept figure.
    pub(crate) fn volume_figure(&self, name: &str) -> Option<Figure> {
        read(&self.volume_figures().join(name)).ok().flatten()
    }

    /// Keeps a volume's figure.
    pub(crate) fn keep_volume_figure(&self, name: &str, figure: &Figure) {
        let directory = self.volume_figures();
        if private_directory(&directory).is_ok() {
            let _ = write(&directory.join(name), figure);
        }
    }

    fn volume_figures(&self) -> PathBuf {
        self.run_root().join("volumes").join(self.id())
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// How long a listing looks for figures that it could also show as they were.
pub(crate) const BUDGET: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_due_when_it_is_older_than_it_is_worth() {
        let figure = |age: i64, cost: i64| Figure {
            bytes: 1,
            inodes: 1,
            subject: "overlay".into(),
            boot: "b".into(),
            taken: now() - age,
            cost,
            exact: false,
        };
        let hour = 3_600_000_000;
        for (age, cost, due) in [
            (hour, 1, true),
            (hour, hour, false),
            (hour, hour / 10, false),
            (hour, hour / 30, true),
            (-hour, hour, true),
        ] {
            assert_eq!(figure(age, cost).is_due(), due, "{age} {cost}");
        }
        assert!(figure(0, 0).is_of("overlay", "b"));
        assert!(!figure(0, 0).is_of("vfs", "b"));
        assert!(!figure(0, 0).is_of("overlay", "next"));
    }
}
