//! Writes the files of a case into the target of a stage or into a mount. Paths are the suite's own, so they are trusted.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags, chmodat, chownat, fsetxattr,
    ftruncate, linkat, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::fs::{Gid, Uid};
use rustix::io::pwrite;

use crate::ids;
use crate::verdict::{Context, Outcome, ensure};

/// A directory to write below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) root: BorrowedFd<'a>,
}

impl Writer<'_> {
    /// A file with these bytes, replacing what was there.
    pub(crate) fn file(&self, path: &str, bytes: impl AsRef<[u8]>) -> Outcome {
        self.file_at(OsStr::new(path), bytes.as_ref())
    }

    /// The same for a name that may be no UTF-8.
    pub(crate) fn file_at(&self, path: &OsStr, bytes: &[u8]) -> Outcome {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(self.root, path, flags, Mode::from_raw_mode(0o644)).doing(|| format!("create {path:?}"))?;
        let mut written = 0;
        while written < bytes.len() {
            written += pwrite(&file, &bytes[written..], written as u64).doing(|| format!("write {path:?}"))?;
        }
        Ok(())
    }

    /// A file of `size` bytes of which only the last ones are stored.
    pub(crate) fn sparse(&self, path: &str, size: u64, tail: &[u8]) -> Outcome {
        self.file(path, [])?;
        let file = self.open(path, OFlags::WRONLY)?;
        ftruncate(&file, size).doing(|| format!("extend `{path}`"))?;
        let written = pwrite(&file, tail, size - tail.len() as u64).doing(|| format!("write `{path}`"))?;
        ensure!(written == tail.len(), "short write to `{path}`");
        Ok(())
    }

    pub(crate) fn dir(&self, path: &str) -> Outcome {
        mkdirat(self.root, path, Mode::from_raw_mode(0o755)).doing(|| format!("make the directory `{path}`"))
    }

    pub(crate) fn symlink(&self, path: &str, target: &str) -> Outcome {
        symlinkat(target, self.root, path).doing(|| format!("make the symbolic link `{path}`"))
    }

    pub(crate) fn hardlink(&self, path: &str, existing: &str) -> Outcome {
        linkat(self.root, existing, self.root, path, AtFlags::empty())
            .doing(|| format!("link `{path}` to `{existing}`"))
    }

    /// A special file; instead of a device a pipe where this process may not make one.
    pub(crate) fn node(&self, path: &str, kind: FileType, device: (u32, u32)) -> Outcome {
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let kind = if is_device && !ids::initial_namespace() { FileType::Fifo } else { kind };
        let device = makedev(device.0, device.1);
        mknodat(self.root, path, kind, Mode::from_raw_mode(0o644), device).doing(|| format!("make the node `{path}`"))
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) -> Outcome {
        chmodat(self.root, path, Mode::from_raw_mode(mode), AtFlags::empty()).doing(|| format!("chmod `{path}`"))
    }

    /// Gives it to these ids, or to root where this user namespace does not have them.
    pub(crate) fn owner(&self, path: &str, uid: u32, gid: u32) -> Outcome {
        let (uid, gid) = (Uid::from_raw(ids::uid(uid)), Gid::from_raw(ids::gid(gid)));
        chownat(self.root, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).doing(|| format!("chown `{path}`"))
    }

    pub(crate) fn mtime(&self, path: &str, seconds: i64, nanoseconds: i64) -> Outcome {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        };
        utimensat(self.root, path, &times, AtFlags::SYMLINK_NOFOLLOW).doing(|| format!("set the times of `{path}`"))
    }

    pub(crate) fn xattr(&self, path: &str, name: &str, value: &[u8]) -> Outcome {
        let file = self.open(path, OFlags::RDONLY)?;
        fsetxattr(&file, name, value, XattrFlags::empty()).doing(|| format!("set `{name}` of `{path}`"))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> rustix::io::Result<()> {
        rustix::fs::renameat(self.root, from, self.root, to)
    }

    pub(crate) fn remove(&self, path: &str) -> Outcome {
        unlinkat(self.root, path, AtFlags::empty()).doing(|| format!("remove `{path}`"))
    }

    pub(crate) fn remove_dir(&self, path: &str) -> Outcome {
        unlinkat(self.root, path, AtFlags::REMOVEDIR).doing(|| format!("remove the directory `{path}`"))
    }

    pub(crate) fn open(&self, path: &str, flags: OFlags) -> Outcome<OwnedFd> {
        openat(self.root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .doing(|| format!("open `{path}`"))
    }

    /// The bytes of a file.
    pub(crate) fn read(&self, path: &str) -> Outcome<Vec<u8>> {
        crate::tree::read_all(self.root, OsStr::from_bytes(path.as_bytes()))
    }

    /// Whether a directory is there.
    pub(crate) fn is_dir(&self, path: &str) -> bool {
        rustix::fs::statat(self.root, path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Whether anything is there.
    pub(crate) fn exists(&self, path: &str) -> bool {
        rustix::fs::statat(self.root, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}
