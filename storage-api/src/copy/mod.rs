//! Copying a tree with everything in it: owners, modes, nanosecond times, xattrs, hard links, devices, holes.
//!
//! Every entry is reached by one name below an open directory; a path is joined only for the second name of a hard-linked
//! file and for messages. Nothing follows a symbolic link.

mod data;
mod metadata;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::tree::{self, HELD};
use crate::{Error, ErrorKind, Flow, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use data::Data;
use metadata::Metadata;

/// How many entries lie between two questions whether to go on.
const PROGRESS_EVERY: u64 = 64;

/// Copies all that is below `from` into the empty directory `to`, then `from`'s own metadata onto `to`.
///
/// `progress` gets the number of entries so far and may stop the copy, which then is an error of kind `Cancelled`. What was
/// copied until an error stays; the caller discards the tree.
pub fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, progress: &mut dyn FnMut(u64) -> Flow) -> Result<()> {
    let mut copy = Copy { entries: Entries::into_tree(to), path: Vec::new(), done: 0, progress };
    let open = |dir| tree::open(dir, c".").map_err(|errno| Error::os(errno, "copy a tree: open its root"));
    copy.run(open(from)?, open(to)?)
}

/// Copies single entries into one tree, and keeps together what is one file under several names.
#[derive(Debug)]
pub struct Entries<'a> {
    root: BorrowedFd<'a>,
    data: Data,
    metadata: Metadata,
    /// Where the first name of a file with several names went.
    links: HashMap<(u64, u64), CString>,
}

impl<'a> Entries<'a> {
    /// Into the tree below `root`.
    pub fn into_tree(root: BorrowedFd<'a>) -> Self {
        Self { root, data: Data::default(), metadata: Metadata::default(), links: HashMap::new() }
    }

    /// Copies `name`, which is no directory, from one directory to another. `place` is the path of `to` below the root,
    /// with a slash after each component.
    pub fn copy(
        &mut self,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        place: &[u8],
        name: &CStr,
        kind: FileType,
    ) -> rustix::io::Result<()> {
        if kind == FileType::RegularFile {
            self.file(from, to, place, name)
        } else {
            self.special(from, to, place, name)
        }
    }

    /// Gives a directory, after all that is in it, the metadata of another.
    pub fn finish_directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
        self.metadata.finish_directory(from, to)
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, place: &[u8], name: &CStr) -> rustix::io::Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, read, Mode::empty())?;
        let stat = rustix::fs::fstat(&source)?;
        if self.is_second_name(to, place, name, &stat)? {
            return Ok(());
        }
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, name, write, Mode::RUSR | Mode::WUSR)?;
        self.data.copy(source.as_fd(), copy.as_fd(), &stat)?;
        self.metadata.finish_open(source.as_fd(), copy.as_fd(), &stat)
    }

    fn special(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        place: &[u8],
        name: &CStr,
    ) -> rustix::io::Result<()> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if self.is_second_name(to, place, name, &stat)? {
            return Ok(());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
            }
            kind => rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
        }
        self.metadata.finish_named((from, to), name, &stat)
    }

    /// Links a file whose first name was copied before; remembers one that is seen first.
    fn is_second_name(
        &mut self,
        to: BorrowedFd<'_>,
        place: &[u8],
        name: &CStr,
        stat: &Stat,
    ) -> rustix::io::Result<bool> {
        if stat.st_nlink == 1 {
            return Ok(false);
        }
        let inode = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&inode) else {
            let first = [place, name.to_bytes()].concat();
            self.links.insert(inode, CString::new(first).map_err(|_| Errno::INVAL)?);
            return Ok(false);
        };
        match rustix::fs::linkat(self.root, first, to, name, AtFlags::empty()) {
            Err(Errno::NAMETOOLONG) => link_far(self.root, first, to, name)?,
            other => other?,
        }
        Ok(true)
    }
}

struct Copy<'a> {
    entries: Entries<'a>,
    /// The directory being copied, relative to the root, with a slash after each component.
    path: Vec<u8>,
    done: u64,
    progress: &'a mut dyn FnMut(u64) -> Flow,
}

/// The source and its copy.
struct Pair {
    from: OwnedFd,
    to: OwnedFd,
}

/// A directory on the way down; the descriptors of far ancestors are closed and found again through `..`.
struct Level {
    pair: Option<Pair>,
    subdirs: Vec<CString>,
    path_len: usize,
}

impl Copy<'_> {
    fn run(&mut self, from: OwnedFd, to: OwnedFd) -> Result<()> {
        let mut stack = vec![self.enter(Pair { from, to })?];
        while let Some(level) = stack.last_mut() {
            let Some(pair) = level.pair.as_ref() else { return Err(lost()) };
            self.path.truncate(level.path_len);
            if let Some(name) = level.subdirs.pop() {
                let below = make_subdir(pair, &name).map_err(|errno| self.failed(errno, &name))?;
                self.path.extend_from_slice(name.to_bytes());
                self.path.push(b'/');
                if stack.len() >= HELD {
                    let far = stack.len() - HELD;
                    stack[far].pair = None;
                }
                stack.push(self.enter(below)?);
                continue;
            }
            let Some(Level { pair: Some(done), .. }) = stack.pop() else { return Err(lost()) };
            let finished = self.entries.finish_directory(done.from.as_fd(), done.to.as_fd());
            finished.map_err(|errno| self.failed(errno, c""))?;
            if let Some(above) = stack.last_mut().filter(|above| above.pair.is_none()) {
                let up = |dir: &OwnedFd| tree::open(dir.as_fd(), c"..").map_err(|errno| self.failed(errno, c".."));
                above.pair = Some(Pair { from: up(&done.from)?, to: up(&done.to)? });
            }
        }
        Ok(())
    }

    /// Copies what a directory holds, except for the directories in it.
    fn enter(&mut self, pair: Pair) -> Result<Level> {
        let mut subdirs = Vec::new();
        let names = tree::names(pair.from.as_fd()).map_err(|errno| self.failed(errno, c""))?;
        for (name, kind) in names {
            self.step()?;
            let kind = match kind {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&pair.from, &name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(stat.map_err(|errno| self.failed(errno, &name))?.st_mode)
                }
                known => known,
            };
            if kind == FileType::Directory {
                subdirs.push(name);
                continue;
            }
            let copied = self.entries.copy((pair.from.as_fd(), pair.to.as_fd()), &self.path, &name, kind);
            copied.map_err(|errno| self.failed(errno, &name))?;
        }
        Ok(Level { pair: Some(pair), subdirs, path_len: self.path.len() })
    }

    fn step(&mut self) -> Result<()> {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_EVERY) && (self.progress)(self.done) == Flow::Stop {
            return Err(Error::new(ErrorKind::Cancelled, "the copy of a tree was cancelled"));
        }
        Ok(())
    }

    fn failed(&self, errno: Errno, name: &CStr) -> Error {
        let (path, name) = (self.path.escape_ascii(), name.to_bytes().escape_ascii());
        Error::os(errno, format_args!("copy `/{path}{name}`"))
    }
}

fn make_subdir(pair: &Pair, name: &CStr) -> rustix::io::Result<Pair> {
    // Closed to others and writable for us until its content is complete.
    rustix::fs::mkdirat(&pair.to, name, Mode::RWXU)?;
    Ok(Pair { from: tree::open(pair.from.as_fd(), name)?, to: tree::open(pair.to.as_fd(), name)? })
}

/// Links to a file whose path is longer than the kernel takes at once. The tree is ours and new, so no component can have
/// turned into a symbolic link.
fn link_far(root: BorrowedFd<'_>, path: &CStr, to: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    let mut dir = tree::open(root, c".")?;
    let mut parts = path.to_bytes().split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let part = CString::new(part).map_err(|_| Errno::INVAL)?;
        if parts.peek().is_none() {
            return rustix::fs::linkat(&dir, part, to, name, AtFlags::empty());
        }
        dir = tree::open(dir.as_fd(), &part)?;
    }
    Err(Errno::NOENT)
}

fn lost() -> Error {
    Error::new(ErrorKind::Other, "the copy of a tree lost its directory")
}
