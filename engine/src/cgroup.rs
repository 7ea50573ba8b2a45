//! A container's control groups as files: whatever versions the kernel has them in, frozen, measured, limited and listed.
//!
//! They are found from the container's first process, not computed from its request: whatever the OCI runtime chose is
//! what counts. A group is the container's own when its path has the container's ID.

mod limits;
mod measure;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Error, Kind, Result};

pub use measure::Figures;
pub(crate) use measure::network;

/// How long processes may take to freeze: one that waits for a disk or a network file system freezes only afterwards.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control groups of one container.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Controllers of version 1 with their directories.
    first: Vec<(String, PathBuf)>,
    /// The directory of version 2.
    second: Option<PathBuf>,
    /// The container's first process.
    process: i32,
}

/// A controller's directory, by the version of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    First(&'a Path),
    Second(&'a Path),
}

impl Place<'_> {
    fn path(&self) -> &Path {
        let (Self::First(path) | Self::Second(path)) = self;
        path
    }
}

/// Whether processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Motion {
    Frozen,
    Thawed,
}

impl Groups {
    /// Those of a container whose first process has this ID. None when it is gone.
    pub(crate) fn of(id: &str, pid: i32) -> Self {
        let read = |path: String| fs_err::read_to_string(path).unwrap_or_default();
        let found = find(id, &read(format!("/proc/{pid}/cgroup")), &read("/proc/self/mountinfo".into()));
        Self { process: pid, ..found }
    }

    /// Where a controller's files are.
    pub(crate) fn place(&self, controller: &str) -> Option<Place<'_>> {
        let first = self.first.iter().find(|(name, _)| name == controller).map(|(_, path)| Place::First(path));
        first.or_else(|| self.second.as_deref().map(Place::Second))
    }

    /// Freezes or thaws every process, and waits until that is done.
    pub(crate) fn set(&self, motion: Motion) -> Result<()> {
        let place = self.place("freezer").ok_or_else(|| {
            Error::refused(Kind::Unsupported, "the container has no control group in which it could be frozen")
        })?;
        let frozen = motion == Motion::Frozen;
        let (file, word) = match place {
            Place::First(path) => (path.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
            Place::Second(path) => (path.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
        };
        let write = || fs_err::write(&file, word).map_err(Error::io("write", &file));
        write()?;
        let begun = Instant::now();
        while frozen && !is_frozen(place) {
            if begun.elapsed() > PATIENCE {
                fs_err::write(&file, if matches!(place, Place::First(_)) { "THAWED" } else { "0" }).ok();
                return Err(Error::refused(Kind::Unavailable, "the container's processes do not freeze"));
            }
            std::thread::sleep(Duration::from_millis(1));
            // Version 1 goes on with what was forked meanwhile only when it is told again.
            write()?;
        }
        Ok(())
    }

    /// Every process, also those of groups that the container made itself. Of a container without groups, as users without
    /// privileges have them, those of its process namespace.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let places = ["pids", "memory", "cpu", "freezer", "devices"];
        let Some(place) = places.iter().find_map(|controller| self.place(controller)) else {
            return neighbours(self.process);
        };
        let mut found = Vec::new();
        gather(place.path(), &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The processes in the process namespace of this one, which is alone where that is also ours.
fn neighbours(process: i32) -> Vec<i32> {
    let namespace = |of: &str| fs_err::read_link(format!("/proc/{of}/ns/pid")).ok();
    let Some(theirs) = namespace(&process.to_string()) else { return Vec::new() };
    if namespace("self").is_none_or(|ours| ours == theirs) {
        return vec![process];
    }
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let inside = names.filter(|name| namespace(name).as_ref() == Some(&theirs));
    let mut found: Vec<i32> = inside.filter_map(|name| name.parse().ok()).collect();
    found.sort_unstable();
    found
}

fn is_frozen(place: Place<'_>) -> bool {
    let read = |file: &str| fs_err::read_to_string(place.path().join(file)).unwrap_or_default();
    match place {
        Place::First(_) => read("freezer.state").trim() == "FROZEN",
        Place::Second(_) => read("cgroup.events").lines().any(|line| line == "frozen 1"),
    }
}

fn gather(directory: &Path, found: &mut Vec<i32>) {
    let text = fs_err::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather(&entry.path(), found);
        }
    }
}

/// What `/proc/<pid>/cgroup` (cgroups(7)) and the mounts say.
fn find(id: &str, theirs: &str, mountinfo: &str) -> Groups {
    let mut groups = Groups::default();
    for line in theirs.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if !path.contains(id) {
            continue;
        }
        // What was mounted later covers what was there.
        let Some(place) = mountinfo.lines().rev().find_map(|mount| place_of(mount, controllers, path)) else {
            continue;
        };
        if controllers.is_empty() {
            groups.second = Some(place);
        } else {
            groups.first.extend(controllers.split(',').map(|name| (name.to_owned(), place.clone())));
        }
    }
    groups
}

/// Where a mount, a line of `/proc/self/mountinfo`, shows the group `path` of the hierarchy with these controllers, if it is a
/// mount of that hierarchy. Its root is no container's group (cgroups(7)).
pub fn place_of(mount: &str, controllers: &str, path: &str) -> Option<PathBuf> {
    let (left, right) = mount.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    let same = match kind {
        "cgroup2" => controllers.is_empty(),
        "cgroup" => {
            let has = |name: &str| options.split(',').any(|option| option == name);
            !controllers.is_empty() && controllers.split(',').all(has)
        }
        _ => false,
    };
    // An engine inside a container may see only a part of the hierarchy, rooted at its own group.
    let below = Path::new(path).strip_prefix(root).ok()?;
    (same && below != Path::new("")).then(|| Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 29 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    #[test]
    fn groups_of_both_versions_are_found() {
        let theirs = "5:memory:/mica/c1\n4:cpu,cpuacct:/mica/c1\n3:pids:/\n0::/other\n";
        let groups = find("c1", theirs, HYBRID);
        assert_eq!(groups.place("cpuacct"), Some(Place::First(Path::new("/sys/fs/cgroup/cpu,cpuacct/mica/c1"))));
        assert_eq!(groups.place("memory"), Some(Place::First(Path::new("/sys/fs/cgroup/memory/mica/c1"))));
        assert_eq!(groups.place("pids"), None, "the root is nobody's own");
        let unified = "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let groups = find("c1", "0::/mica/c1\n", unified);
        assert_eq!(groups.place("pids"), Some(Place::Second(Path::new("/sys/fs/cgroup/mica/c1"))));
        let nested = "30 29 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let groups = find("c1", "0::/docker/x/mica/c1\n", nested);
        assert_eq!(groups.place("pids"), Some(Place::Second(Path::new("/sys/fs/cgroup/mica/c1"))));
        let covered = format!("{unified}31 30 0:26 /user/m.scope /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let groups = find("c1", "0::/user/m.scope/mica/c1\n", &covered);
        assert_eq!(groups.place("pids"), Some(Place::Second(Path::new("/sys/fs/cgroup/mica/c1"))));
        assert_eq!(find("c1", "", HYBRID), Groups::default());
    }
}
