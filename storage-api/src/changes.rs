//! Changes that were found path by path, told one after the other: for drivers that compare two trees.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::args::{Change, ChangeKind, Flow};
use crate::error::{Result, ResultExt};
use crate::tree;

/// Paths with what happened to them, in the order of paths.
pub type Changed = BTreeMap<PathBuf, ChangeKind>;

/// Tells the changes, each with the directory its entry is in.
pub fn tell(changed: &Changed, tree: BorrowedFd<'_>, yield_change: &mut dyn FnMut(&Change<'_>) -> Flow) -> Result<()> {
    let mut last: Option<(&Path, OwnedFd)> = None;
    for (path, &kind) in changed {
        let (parent, name) = split(path);
        if kind != ChangeKind::Deleted && last.as_ref().is_none_or(|(path, _)| *path != parent) {
            last = match tree::open_path(tree, parent.as_os_str().as_bytes()) {
                Ok(dir) => Some((parent, dir)),
                // A running container has removed it meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(errno).during(|| format!("open `/{}`", parent.display())),
            };
        }
        let dir = last.as_ref().filter(|_| kind != ChangeKind::Deleted).map(|(_, dir)| dir.as_fd());
        if yield_change(&Change { kind, path, dir, name }) == Flow::Stop {
            break;
        }
    }
    Ok(())
}

/// The directory of a path and the name in it; both are empty for the root.
pub fn split(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default())
}
