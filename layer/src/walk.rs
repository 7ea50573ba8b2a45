//! Visits everything below a directory, without following links, holding one directory open at a time.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{Error, Result};

/// Something a walk came by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit<'a> {
    /// The directory it is in.
    pub dir: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a [u8],
    /// Its path below the root of the walk.
    pub path: &'a [u8],
    /// Its metadata.
    pub stat: &'a Stat,
}

impl Visit<'_> {
    /// What kind of file it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Whether a walk goes on below the directory it just visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Below {
    Enter,
    Skip,
}

/// Visits everything below `root`, but not `root` itself.
///
/// A directory's names are visited in the order of their bytes, and only then what is below each subdirectory. So the
/// order is a matter of the tree alone, parents come before children, and no depth exhausts descriptors or the stack.
/// What vanishes meanwhile is passed over.
pub(crate) fn walk(root: BorrowedFd<'_>, visit: &mut dyn FnMut(Visit<'_>) -> Result<Below>) -> Result<()> {
    let mut ahead = vec![Vec::new()];
    while let Some(path) = ahead.pop() {
        let dir = match beneath::open_physical(root, &path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => continue,
            Err(e) => return Err(Error::io("open directory", &path, e)),
        };
        let first = ahead.len();
        for name in beneath::names(&dir).map_err(|e| Error::io("read directory", &path, e))? {
            let path = beneath::join(&path, &name);
            let stat = match rustix::fs::statat(&dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(Error::io("read", &path, e)),
            };
            let found = Visit { dir: dir.as_fd(), name: &name, path: &path, stat: &stat };
            if visit(found)? == Below::Enter && found.kind() == FileType::Directory {
                ahead.push(path);
            }
        }
        ahead[first..].reverse();
    }
    Ok(())
}
