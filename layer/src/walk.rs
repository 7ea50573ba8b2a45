//! Visits everything below a directory, without following links, holding two directories open at a time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
/// A directory comes before what it holds, and that comes before the next name: the order of every archiver, which GNU
/// tar relies on to restore the times of directories. Names are in the order of their bytes, so the order of a walk is
/// a matter of the tree alone. No depth exhausts descriptors or the stack. What vanishes meanwhile is passed over.
pub(crate) fn walk(root: BorrowedFd<'_>, visit: &mut dyn FnMut(Visit<'_>) -> Result<Below>) -> Result<()> {
    let Some(mut dir) = open(root, b"")? else { return Err(Error::io("open directory", b"", Errno::NOTDIR)) };
    // The directory that is open, and for each one above it and itself the names that are still to come.
    let mut here = Vec::new();
    let mut ahead = vec![(Vec::new(), list(&dir, &here)?)];
    while let Some((parent, names)) = ahead.last_mut() {
        let Some(name) = names.next() else {
            ahead.pop();
            continue;
        };
        if here != *parent {
            match open(root, parent)? {
                Some(back) => dir = back,
                None => {
                    ahead.pop();
                    continue;
                }
            }
            here.clone_from(parent);
        }
        let path = beneath::join(&here, &name);
        let stat = match rustix::fs::statat(&dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        let found = Visit { dir: dir.as_fd(), name: &name, path: &path, stat: &stat };
        if visit(found)? == Below::Enter
            && found.kind() == FileType::Directory
            && let Some(child) = open(root, &path)?
        {
            ahead.push((path.clone(), list(&child, &path)?));
            (dir, here) = (child, path);
        }
    }
    Ok(())
}

/// A directory at exactly this path; nothing when it is gone, or has become something else.
fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>> {
    match beneath::open_physical(root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(Error::io("open directory", path, e)),
    }
}

fn list(dir: &OwnedFd, path: &[u8]) -> Result<std::vec::IntoIter<Vec<u8>>> {
    Ok(beneath::names(dir).map_err(|e| Error::io("read directory", path, e))?.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Root;

    #[test]
    fn a_walk_goes_deeper_than_descriptors_or_the_stack_would() {
        let root = Root::new();
        let mut dir = beneath::open_dir(root.fd(), std::path::Path::new("")).unwrap();
        for _ in 0..1500 {
            rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).unwrap();
            dir = beneath::open_child_dir(&dir, b"d").unwrap();
        }
        let mut visited = 0;
        walk(root.fd(), &mut |found| {
            visited += 1;
            assert_eq!(found.path.len(), visited * 2 - 1);
            Ok(Below::Enter)
        })
        .unwrap();
        assert_eq!(visited, 1500);
        beneath::remove_all(root.fd(), b"d").unwrap();
        assert_eq!(root.list(), "");
    }

    #[test]
    fn a_walk_follows_no_link_and_skips_what_it_is_told() {
        let root = Root::new();
        root.write("a/x", "").write("a.b", "").write("skip/y", "").symlink("a", "z");
        let mut visited = Vec::new();
        walk(root.fd(), &mut |found| {
            visited.push(String::from_utf8(found.path.to_vec()).unwrap());
            Ok(if found.name == b"skip" { Below::Skip } else { Below::Enter })
        })
        .unwrap();
        assert_eq!(visited, ["a", "a/x", "a.b", "skip", "z"]);
    }
}
