//! Holding a running container's processes still for as long as its files are read, by the freezer of its control group.
//!
//! Where there is no freezer, or the container is stopped or frozen already, nothing happens.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Engine;

/// How long processes may take to stop. One that hangs in the kernel does not stop, and is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Processes that stand still until this goes.
#[derive(Debug)]
pub(crate) struct Frozen {
    thaw: Option<(PathBuf, &'static str)>,
}

impl Engine {
    /// Freezes a container's processes. Blocks for as long as they take to stop.
    pub(crate) fn freeze(&self, id: &str) -> Frozen {
        let top = Path::new("/sys/fs/cgroup");
        let version_1 = top.join("freezer/mica").join(id).join("freezer.state");
        let version_2 = top.join("mica").join(id).join("cgroup.freeze");
        let events = top.join("mica").join(id).join("cgroup.events");
        if version_1.exists() {
            freeze(&version_1, ("FROZEN", "THAWED"), || reads(&version_1, "FROZEN"))
        } else if version_2.exists() {
            freeze(&version_2, ("1", "0"), || reads(&events, "frozen 1"))
        } else {
            Frozen { thaw: None }
        }
    }
}

fn freeze(file: &Path, (on, off): (&str, &'static str), frozen: impl Fn() -> bool) -> Frozen {
    // Whoever froze it thaws it.
    if frozen() || fs_err::write(file, on).is_err() {
        return Frozen { thaw: None };
    }
    let begun = Instant::now();
    while !frozen() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    Frozen { thaw: Some((file.to_owned(), off)) }
}

fn reads(file: &Path, wanted: &str) -> bool {
    fs_err::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.trim() == wanted))
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some((file, off)) = &self.thaw
            && let Err(error) = fs_err::write(file, off)
        {
            // A container that ended meanwhile took its group along.
            tracing::debug!(%error, "not thawed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_frozen_is_thawed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("freezer.state");
        for (before, after) in [("THAWED", "THAWED"), ("FROZEN", "FROZEN")] {
            fs_err::write(&file, before).unwrap();
            let frozen = freeze(&file, ("FROZEN", "THAWED"), || reads(&file, "FROZEN"));
            assert!(reads(&file, "FROZEN"));
            drop(frozen);
            assert!(reads(&file, after), "{before}");
        }
        assert!(freeze(&dir.path().join("no/such"), ("1", "0"), || false).thaw.is_none());
    }
}
