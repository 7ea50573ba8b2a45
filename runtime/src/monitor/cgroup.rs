//! The control groups of one container, in every hierarchy in which it has one of its own (v1, hybrid and v2 alike).
//!
//! They are found from the process, not computed from the spec: whatever the OCI runtime chose is what is joined by
//! `exec`, asked about memory and removed.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use mica_engine::cgroup::place_of;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Directories of a container's own control groups.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cgroups {
    directories: Vec<PathBuf>,
}

impl Cgroups {
    /// Those in which the process is elsewhere than this monitor. None when it is gone.
    pub fn of(pid: i32) -> Self {
        let read = |path: String| fs_err::read_to_string(PathBuf::from(path)).unwrap_or_default();
        let theirs = read(format!("/proc/{pid}/cgroup"));
        let directories = directories(&theirs, &read("/proc/self/cgroup".into()), &read("/proc/self/mountinfo".into()));
        Self { directories }
    }

    /// Those with this absolute path, for a container that failed before its process was known.
    pub fn at(path: &str) -> Self {
        let mountinfo = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let relative = Path::new(path.trim_start_matches('/'));
        let tidy = relative.components().all(|part| matches!(part, Component::Normal(_))) && relative != Path::new("");
        let points = mountinfo.lines().filter_map(mount_point).filter(|_| tidy && path.starts_with('/'));
        let directories = points.map(|point| point.join(relative)).filter(|directory| directory.exists()).collect();
        Self { directories }
    }

    /// Moves the calling process into them.
    pub fn join(&self) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| fs_err::write(directory.join("cgroup.procs"), "0"))
    }

    /// Writes to a file of theirs, under the first of its names that exists.
    pub fn set(&self, names: &[&str], value: &str) -> io::Result<()> {
        let mut places =
            names.iter().flat_map(|name| self.directories.iter().map(move |directory| directory.join(name)));
        match places.find(|path| path.exists()) {
            Some(path) => fs_err::write(path, value),
            None => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("no control group has `{}`", names.join("`, `"))))
            }
        }
    }

    /// True when the kernel killed a process in them for memory.
    pub fn oom_killed(&self) -> bool {
        ["memory.events", "memory.oom_control"]
            .iter()
            .flat_map(|file| self.directories.iter().map(move |directory| directory.join(file)))
            .filter_map(|path| fs_err::read_to_string(path).ok())
            .any(|text| text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0"))
    }

    /// Kills every process in them and removes them with what the container made below. Errors are for nobody: what stays
    /// is empty and found by its name.
    pub fn remove(&self) {
        for directory in &self.directories {
            kill_all(directory);
            // A killed process leaves its group when it exits, a moment after the signal.
            for attempt in 0..50 {
                match remove_tree(directory) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        kill_all(directory);
                        std::thread::sleep(Duration::from_millis(1 + attempt));
                    }
                    _ => break,
                }
            }
        }
    }
}

fn directories(theirs: &str, ours: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in theirs.lines().filter(|line| !ours.lines().any(|own| own == *line)) {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let place = mountinfo.lines().rev().find_map(|mount| place_of(mount, controllers, path));
        if let Some(place) = place
            && !found.contains(&place)
        {
            found.push(place);
        }
    }
    found
}

fn mount_point(mount: &str) -> Option<PathBuf> {
    let (left, right) = mount.split_once(" - ")?;
    right.starts_with("cgroup").then(|| left.split(' ').nth(4).map(PathBuf::from)).flatten()
}

fn kill_all(directory: &Path) {
    if fs_err::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let list = fs_err::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
    for child in children(directory) {
        kill_all(&child);
    }
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs_err::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            children(directory).iter().try_for_each(|child| remove_tree(child))?;
            fs_err::remove_dir(directory)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(directory).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    entries.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 29 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    #[test]
    fn only_groups_of_its_own() {
        for (name, theirs, ours, mounts, want) in [
            (
                "hybrid",
                "5:memory:/mica/c1\n4:cpu,cpuacct:/mica/c1\n1:name=systemd:/user\n0::/user\n",
                "5:memory:/\n4:cpu,cpuacct:/\n1:name=systemd:/user\n0::/user\n",
                HYBRID,
                vec!["/sys/fs/cgroup/memory/mica/c1", "/sys/fs/cgroup/cpu,cpuacct/mica/c1"],
            ),
            (
                "unified",
                "0::/mica/c1\n",
                "0::/user.slice\n",
                "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                vec!["/sys/fs/cgroup/mica/c1"],
            ),
            (
                "nested",
                "0::/docker/x/mica/c1\n",
                "0::/docker/x\n",
                "30 29 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                vec!["/sys/fs/cgroup/mica/c1"],
            ),
            ("never the root", "5:memory:/\n", "5:memory:/user\n", HYBRID, vec![]),
            ("gone", "", "5:memory:/user\n", HYBRID, vec![]),
        ] {
            let want: Vec<PathBuf> = want.into_iter().map(PathBuf::from).collect();
            assert_eq!(directories(theirs, ours, mounts), want, "{name}");
        }
    }
}
