//! Mount points in the root of a build step, which must not end up in its layer.
//!
//! They are made before the step and removed after it, but only where they still are what was made: an empty file or
//! directory at the same place, reached without following any link. A step that swaps a parent for a symbolic link to make
//! us remove something of the host (CVE-2024-23652) gets nothing removed.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use mica_layer::beneath;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, fstat, mkdirat, openat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::{Error, Result};

/// What was made in a root.
#[derive(Debug)]
pub(crate) struct Stubs {
    // In the order in which they were made.
    made: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    name: OsString,
    directory: bool,
    inode: u64,
    // Making and removing the stub changes the parent's times, which would make it part of the layer.
    before: Timestamps,
    after_making: (i64, i64),
}

impl Stubs {
    /// Makes the missing ones of `targets`, which are absolute paths, each with whether a file may be mounted there.
    pub(crate) fn make<'a>(root: impl AsFd, targets: impl Iterator<Item = (&'a Path, bool)>) -> Result<Stubs> {
        let mut stubs = Stubs { made: Vec::new() };
        for (target, file) in targets {
            let parts: Vec<&OsStr> = target
                .components()
                .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
                .collect();
            let mut done = std::path::PathBuf::new();
            for (at, name) in parts.iter().enumerate() {
                let as_directory = !file || at + 1 < parts.len();
                let parent = beneath::open_dir(&root, &done).map_err(|source| Error::Layer {
                    operation: "open a mount point's parent in",
                    layer: target.display().to_string(),
                    source,
                })?;
                stubs.make_one(parent, name, as_directory, target)?;
                done.push(name);
            }
        }
        Ok(stubs)
    }

    fn make_one(&mut self, parent: OwnedFd, name: &OsStr, directory: bool, target: &Path) -> Result<()> {
        let fail = |errno: Errno| Error::io("make the mount point", target)(errno.into());
        let times = fstat(&parent).map_err(fail)?;
        let made = if directory {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        };
        match made {
            // What is there, a symbolic link too, is the image's.
            Err(Errno::EXIST) => return Ok(()),
            result => result.map_err(fail)?,
        }
        let stub = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        let after = fstat(&parent).map_err(fail)?;
        self.made.push(Stub {
            parent,
            name: name.to_owned(),
            directory,
            inode: stub.st_ino,
            before: timestamps(&times),
            after_making: modified(&after),
        });
        Ok(())
    }

    /// Removes what was made, children first. What the step changed stays.
    pub(crate) fn remove(mut self) -> Result<()> {
        while let Some(stub) = self.made.pop() {
            stub.remove().map_err(|errno| Error::io("remove the mount point", &stub.name)(errno.into()))?;
        }
        Ok(())
    }
}

impl Stub {
    /// The descriptor of the parent is the very directory the stub was made in, wherever it is now.
    fn remove(&self) -> Result<(), Errno> {
        let parent_now = modified(&fstat(&self.parent)?);
        let found = match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        let flags = if self.directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let ours = found.st_ino == self.inode
            && if self.directory {
                kind == FileType::Directory
            } else {
                kind == FileType::RegularFile && found.st_size == 0
            };
        if !ours {
            return Ok(());
        }
        match unlinkat(&self.parent, &self.name, flags) {
            // The step put something into it.
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            result => result?,
        }
        if parent_now == self.after_making {
            utimensat(&self.parent, ".", &self.before, AtFlags::empty())?;
        }
        Ok(())
    }
}

fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime, stat.st_mtime_nsec as i64)
}

fn timestamps(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    const TARGETS: [(&str, bool); 4] =
        [("/proc", false), ("/etc/hosts", true), ("/etc/resolv.conf", true), ("/etc/hostname", true)];

    fn targets() -> impl Iterator<Item = (&'static Path, bool)> {
        TARGETS.into_iter().map(|(path, file)| (Path::new(path), file))
    }

    #[test]
    fn nothing_is_left_and_no_time_changes() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("etc")).unwrap();
        fs_err::write(dir.path().join("etc/hosts"), "kept").unwrap();
        let root = open(dir.path());
        let old = Timespec { tv_sec: 1000, tv_nsec: 7 };
        for path in ["etc", "."] {
            utimensat(&root, path, &Timestamps { last_access: old, last_modification: old }, AtFlags::empty()).unwrap();
        }
        let stubs = Stubs::make(&root, targets()).unwrap();
        assert!(dir.path().join("etc/hostname").is_file() && dir.path().join("proc").is_dir());
        stubs.remove().unwrap();
        assert!(!dir.path().join("etc/hostname").exists() && !dir.path().join("proc").exists());
        assert_eq!(fs_err::read_to_string(dir.path().join("etc/hosts")).unwrap(), "kept");
        for path in ["etc", "."] {
            assert_eq!(modified(&statat(&root, path, AtFlags::empty()).unwrap()), (1000, 7), "{path}");
        }
    }

    #[test]
    fn what_the_step_made_of_them_stays() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("hostname"), "").unwrap();
        let stubs = Stubs::make(open(dir.path()), targets()).unwrap();
        fs_err::write(dir.path().join("etc/resolv.conf"), "nameserver 1.1.1.1\n").unwrap();
        fs_err::write(dir.path().join("proc/file"), "").unwrap();
        // The parent becomes a link to the host: the host's file of the same name stays.
        fs_err::rename(dir.path().join("etc"), dir.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("etc")).unwrap();
        stubs.remove().unwrap();
        assert!(outside.path().join("hostname").exists());
        assert!(dir.path().join("moved/resolv.conf").exists() && dir.path().join("proc/file").exists());
        assert!(!dir.path().join("moved/hosts").exists());
    }
}
