//! Walking trees by directory descriptors: removal within a budget, and what a tree occupies.
//!
//! A hostile image may nest deeper than PATH_MAX or than the limit of open files, so nothing here joins paths or keeps a
//! descriptor per level: beyond [`HELD`] levels a parent is closed and found again through `..`.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use crate::args::Usage;
use crate::error::{Error, Result, ResultExt};

/// How many levels keep their descriptor during a walk.
pub const HELD: usize = 64;

/// How far a removal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing is left.
    Wholly,
    /// The deadline passed.
    Partly,
}

/// The names in a directory, without `.` and `..`, with the type where the file system tells it.
pub fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<(CString, FileType)>> {
    let mut room = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(dir, room.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Opens a directory to read it, without following a symbolic link in its place.
pub fn open(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens the directory at `path` below `root`, of components joined by single slashes; empty for the root itself. No
/// component may be a symbolic link, and the path may be longer than the kernel takes at once.
pub fn open_path(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    /// PATH_MAX counts the terminating NUL.
    const MOST: usize = 4095;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = None;
    let mut rest = path;
    while !rest.is_empty() {
        let part = if rest.len() <= MOST {
            std::mem::take(&mut rest)
        } else {
            let cut = rest[..=MOST].iter().rposition(|&byte| byte == b'/').ok_or(Errno::NAMETOOLONG)?;
            let part = &rest[..cut];
            rest = &rest[cut + 1..];
            part
        };
        let from = dir.as_ref().map_or(root, OwnedFd::as_fd);
        dir = Some(rustix::fs::openat2(from, part, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?);
    }
    dir.map_or_else(|| open(root, c"."), Ok)
}

/// Removes a file or a whole tree. Looks at the deadline only after it has removed something, so every call makes progress.
/// What others remove at the same time is no error.
pub fn remove(parent: BorrowedFd<'_>, name: &CStr, deadline: Option<Instant>) -> Result<Deleted> {
    let show = || format!("remove `{}`", name.to_string_lossy());
    let removed = Cell::new(false);
    let late = || removed.get() && deadline.is_some_and(|deadline| Instant::now() >= deadline);
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(Deleted::Wholly),
        // POSIX says EPERM for a directory, Linux says EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(Error::os(errno, show())),
    }
    let Some(top) = open_to_empty(parent, name).during(show)? else { return Ok(Deleted::Wholly) };
    let mut stack = vec![Level {
        subdirs: empty_of_files(top.as_fd(), &removed, &late).during(show)?,
        dir: Some(top),
        name: name.to_owned(),
    }];
    while let Some(level) = stack.last_mut() {
        if late() {
            return Ok(Deleted::Partly);
        }
        let Some(dir) = level.dir.as_ref() else {
            return Err(Error::new(crate::ErrorKind::Other, "a walk lost its directory"));
        };
        if let Some(subdir) = level.subdirs.pop() {
            if let Some(next) = open_to_empty(dir.as_fd(), &subdir).during(show)? {
                let subdirs = empty_of_files(next.as_fd(), &removed, &late).during(show)?;
                if stack.len() > HELD {
                    let hidden = stack.len() - HELD;
                    stack[hidden].dir = None;
                }
                stack.push(Level { dir: Some(next), name: subdir, subdirs });
            }
            continue;
        }
        let Some(done) = stack.pop() else { break };
        let above = match stack.last_mut() {
            None => None,
            Some(level) => {
                if level.dir.is_none() {
                    let child = done.dir.as_ref().map(AsFd::as_fd).unwrap_or(parent);
                    match open(child, c"..") {
                        Ok(dir) => level.dir = Some(dir),
                        // Another remover was here first and took the way back up away: come again from the top.
                        Err(Errno::NOENT) => return Ok(Deleted::Partly),
                        Err(errno) => return Err(Error::os(errno, show())),
                    }
                }
                level.dir.as_ref()
            }
        };
        let above = above.map_or(parent, AsFd::as_fd);
        match rustix::fs::unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => removed.set(true),
            // The deadline cut the emptying of this directory short, or another reaper fills in: come again.
            Err(Errno::NOTEMPTY) => return Ok(Deleted::Partly),
            Err(errno) => return Err(Error::os(errno, show())),
        }
    }
    Ok(Deleted::Wholly)
}

/// What a tree occupies: allocated bytes and inodes, a file of several names once.
pub fn usage(top: BorrowedFd<'_>) -> Result<Usage> {
    let show = || "measure a tree";
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut count = |dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags| -> rustix::io::Result<FileType> {
        let stat = rustix::fs::statat(dir, name, flags | AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if stat.st_nlink == 1 || kind == FileType::Directory || seen.insert((stat.st_dev, stat.st_ino)) {
            usage.bytes += stat.st_blocks as u64 * 512;
            usage.inodes += 1;
        }
        Ok(kind)
    };
    count(top, c"", AtFlags::EMPTY_PATH).during(show)?;
    let top = open(top, c".").during(show)?;
    let mut stack = vec![Level { subdirs: Vec::new(), dir: Some(top), name: CString::default() }];
    let mut fresh = true;
    while let Some(level) = stack.last_mut() {
        let Some(dir) = level.dir.as_ref() else {
            return Err(Error::new(crate::ErrorKind::Other, "a walk lost its directory"));
        };
        if fresh {
            for (name, _) in names(dir.as_fd()).during(show)? {
                match count(dir.as_fd(), &name, AtFlags::empty()) {
                    Ok(FileType::Directory) => level.subdirs.push(name),
                    Ok(_) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(Error::os(errno, show())),
                }
            }
        }
        fresh = false;
        if let Some(subdir) = level.subdirs.pop() {
            match open(dir.as_fd(), &subdir) {
                Ok(next) => {
                    if stack.len() > HELD {
                        let hidden = stack.len() - HELD;
                        stack[hidden].dir = None;
                    }
                    stack.push(Level { dir: Some(next), name: subdir, subdirs: Vec::new() });
                    fresh = true;
                }
                // The tree of a running container changes under the walk.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(Error::os(errno, show())),
            }
            continue;
        }
        let done = stack.pop();
        if let (Some(Level { dir: Some(child), .. }), Some(level)) = (done, stack.last_mut())
            && level.dir.is_none()
        {
            level.dir = Some(open(child.as_fd(), c"..").during(show)?);
        }
    }
    Ok(usage)
}

struct Level {
    dir: Option<OwnedFd>,
    name: CString,
    subdirs: Vec<CString>,
}

/// Opens a directory that is to be emptied; `None` when it is gone. Without root its mode may forbid it, and it is ours.
fn open_to_empty(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Option<OwnedFd>> {
    let opened = match open(parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty()).and_then(|()| open(parent, name))
        }
        other => other,
    };
    match opened {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Unlinks all that is no directory; yields the directories.
fn empty_of_files(
    dir: BorrowedFd<'_>,
    removed: &Cell<bool>,
    late: &dyn Fn() -> bool,
) -> rustix::io::Result<Vec<CString>> {
    let mut subdirs = Vec::new();
    let mut freed_write = false;
    let names = match names(dir) {
        // The kernel says so of an open directory that another remover has emptied and removed meanwhile.
        Err(Errno::NOENT) => return Ok(subdirs),
        other => other?,
    };
    for (name, kind) in names {
        if kind == FileType::Directory {
            subdirs.push(name);
            continue;
        }
        loop {
            match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => removed.set(true),
                Err(Errno::ISDIR) => subdirs.push(name),
                Err(Errno::ACCESS) if !freed_write => {
                    freed_write = true;
                    rustix::fs::fchmod(dir, Mode::RWXU)?;
                    continue;
                }
                Err(errno) => return Err(errno),
            }
            break;
        }
        if late() {
            break;
        }
    }
    Ok(subdirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    fn at(path: &std::path::Path) -> OwnedFd {
        rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    /// A chain of directories far beyond PATH_MAX, HELD and the usual limit of open files.
    fn dig(top: &OwnedFd, levels: usize) {
        let mut dir = open(top.as_fd(), c".").unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&dir, "deeper", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("target", &dir, "link").unwrap();
            dir = open(dir.as_fd(), c"deeper").unwrap();
        }
    }

    #[test]
    fn deep_trees_are_measured_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let top = at(root.path());
        rustix::fs::mkdirat(&top, "t", Mode::RWXU).unwrap();
        let tree = open(top.as_fd(), c"t").unwrap();
        dig(&tree, 1500);
        assert_eq!(usage(tree.as_fd()).unwrap().inodes, 1 + 2 * 1500);
        let path = vec![&b"deeper"[..]; 1500].join(&b'/');
        assert!(names(open_path(tree.as_fd(), &path).unwrap().as_fd()).unwrap().is_empty());
        assert_eq!(names(open_path(tree.as_fd(), &path[..path.len() - 7]).unwrap().as_fd()).unwrap().len(), 2);
        assert_eq!(open_path(tree.as_fd(), b"deeper/link/..").unwrap_err(), Errno::LOOP);
        assert_eq!(remove(top.as_fd(), c"t", None).unwrap(), Deleted::Wholly);
        assert!(!root.path().join("t").exists());
        assert_eq!(remove(top.as_fd(), c"t", None).unwrap(), Deleted::Wholly);
    }

    #[test]
    fn removal_does_not_follow_links() {
        let root = tempfile::tempdir().unwrap();
        let top = at(root.path());
        fs_err::create_dir_all(root.path().join("keep/sub")).unwrap();
        fs_err::create_dir(root.path().join("t")).unwrap();
        fs_err::os::unix::fs::symlink("../keep", root.path().join("t/link")).unwrap();
        remove(top.as_fd(), c"t", None).unwrap();
        assert!(root.path().join("keep/sub").is_dir());
    }

    #[test]
    fn a_passed_deadline_removes_a_little_each_time() {
        let root = tempfile::tempdir().unwrap();
        let top = at(root.path());
        fs_err::create_dir_all(root.path().join("t/a/b")).unwrap();
        for name in ["t/1", "t/2", "t/a/3", "t/a/b/4"] {
            fs_err::write(root.path().join(name), "x").unwrap();
        }
        let mut calls = 0;
        while root.path().join("t").exists() {
            remove(top.as_fd(), c"t", Some(Instant::now())).unwrap();
            calls += 1;
            assert!(calls < 50, "no progress");
        }
        assert!(calls > 1);
    }

    #[test]
    fn several_may_remove_one_tree() {
        for _ in 0..20 {
            let root = tempfile::tempdir().unwrap();
            let top = at(root.path());
            for branch in 0..6 {
                let deep = root.path().join(format!("t/{branch}/{}", "d/".repeat(HELD + 10)));
                fs_err::create_dir_all(&deep).unwrap();
                fs_err::write(deep.join("file"), "x").unwrap();
            }
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| while remove(top.as_fd(), c"t", None).unwrap() == Deleted::Partly {});
                }
            });
            assert!(!root.path().join("t").exists());
        }
    }

    #[test]
    fn usage_counts_a_linked_file_once() {
        let root = tempfile::tempdir().unwrap();
        fs_err::write(root.path().join("a"), vec![1; 100_000]).unwrap();
        let one = usage(at(root.path()).as_fd()).unwrap();
        fs_err::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
        let two = usage(at(root.path()).as_fd()).unwrap();
        assert_eq!(one, two);
        assert_eq!(one.inodes, 2);
        assert!(one.bytes >= 100_000, "{one:?}");
    }
}
