//! The one place for paths that come from strangers: every one is resolved by the kernel, inside a root.
//!
//! `openat2` with `RESOLVE_IN_ROOT` treats the root as `/` for absolute paths, `..` and symbolic links, atomically:
//! joining strings, checking, and opening later is the race behind CVE-2018-15664 and CVE-2021-30465, so nobody in
//! this crate does it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// How many times a lookup is repeated when a concurrent rename makes the kernel give up with `EAGAIN`.
const ATTEMPTS: u32 = 128;

/// Opens `path` with every component, symbolic link and `..` resolved as if `root` were `/`.
pub fn open(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let path = rooted(path.as_os_str().as_bytes());
    resolve(root.as_fd(), path, flags, mode, ResolveFlags::IN_ROOT).map_err(|e| Error::io("open", path, e))
}

/// Opens a directory below `root`, like [`open`].
pub fn open_dir(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens the directory that holds `path` and returns it with the last component's name, which is not looked up.
///
/// Fails for a path without a last component: the root itself, or one that ends in `..`.
pub fn open_parent(root: impl AsFd, path: &Path) -> Result<(OwnedFd, OsString)> {
    let Some(name) = path.file_name() else {
        return Err(Error::refused(path.as_os_str().as_bytes(), "it names no file below its root"));
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    Ok((open_dir(root, parent)?, name.to_owned()))
}

/// Who owns a directory that had to be made, and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDir {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Default for NewDir {
    fn default() -> NewDir {
        NewDir { mode: 0o755, uid: 0, gid: 0 }
    }
}

/// Opens the directory `path` below `root`, making it and what is missing above it.
pub fn mkdir_all(root: impl AsFd, path: &Path, new: NewDir) -> Result<OwnedFd> {
    let root = root.as_fd();
    let bytes = path.as_os_str().as_bytes();
    match open_dir(root, path) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        done => return done,
    }
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Error::io("create directory", bytes, Errno::NOENT));
    };
    let parent = mkdir_all(root, parent, new)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(new.mode)) {
        Ok(()) => {}
        // Someone else made it, or it is a symbolic link to nowhere: the open below tells which.
        Err(Errno::EXIST) => return open_dir(root, path),
        Err(e) => return Err(Error::io("create directory", bytes, e)),
    }
    let dir = open_child_dir(&parent, name.as_bytes()).map_err(|e| Error::io("open", bytes, e))?;
    rustix::fs::fchown(&dir, Some(Uid::from_raw(new.uid)), Some(Gid::from_raw(new.gid)))
        .and_then(|()| rustix::fs::fchmod(&dir, Mode::from_raw_mode(new.mode)))
        .map_err(|e| Error::io("set the owner of", bytes, e))?;
    Ok(dir)
}

/// Opens `path` below `root` where no component may be a symbolic link: for paths that were resolved before.
pub(crate) fn open_physical(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve(root, rooted(path), flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Opens a directory by its name in `dir`, which must be a single component.
pub(crate) fn open_child_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Removes `name` from `dir`, with everything below it when it is a directory. Symbolic links are not followed.
pub(crate) fn remove_all(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    // A tree may be deeper than descriptors or the stack allow, so the walk keeps one directory open and finds its way
    // back through `..`. Whoever moves directories about meanwhile only loses files of the same root.
    let mut here = open_child_dir(dir, name)?;
    let mut names: Vec<Vec<u8>> = Vec::new();
    loop {
        match first_stubborn(here.as_fd())? {
            Some(child) => {
                here = open_child_dir(&here, &child)?;
                names.push(child);
            }
            None => match names.pop() {
                Some(child) => {
                    here = open_child_dir(&here, b"..")?;
                    rustix::fs::unlinkat(&here, child, AtFlags::REMOVEDIR)?;
                }
                None => return rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
            },
        }
    }
}

/// The names in a directory, sorted by their bytes.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A path from the bytes of one.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// Splits a clean relative path into its parent and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Joins a clean relative directory path and a name.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn rooted(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

fn resolve(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = OsStr::from_bytes(path);
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// Removes all that can be removed from `dir` at once, and returns the first directory that is not empty.
fn first_stubborn(dir: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_bytes().to_vec())),
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}
