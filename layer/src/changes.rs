//! What differs between two trees, found by walking both: the way that works for every storage driver.
//!
//! The comparison must never call something equal that is not, so it trusts no time a program can set. Two files are
//! equal without being read only when they are one inode that has not been changed: device, inode number and change
//! time agree, and the kernel lets nobody set those. Equal size and modification time are no proof (a build that sets
//! `SOURCE_DATE_EPOCH` rewrites files under their old times): such files are read and compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::{attributes, beneath};

/// How much of two files is compared at a time.
const BUFFER: usize = 128 * 1024;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is new; everything below a new directory is reported too, each path on its own.
    Added,
    /// It was there and something about it differs.
    Modified,
    /// It is gone, with everything below it; nothing below it is reported.
    Deleted,
    /// It is a directory that hides everything the layers below have under it.
    Opaque,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The path, relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Walks two trees side by side and reports, in the order of paths, what turns `lower` into `upper`.
///
/// Without a `lower`, everything in `upper` is new.
pub fn compare_trees(
    lower: Option<BorrowedFd<'_>>,
    upper: BorrowedFd<'_>,
    report: &mut dyn FnMut(Change),
) -> Result<()> {
    let mut comparison = Comparison::default();
    comparison.root(lower, upper)?;
    let mut ahead = vec![(Vec::new(), lower.is_some())];
    while let Some((path, both)) = ahead.pop() {
        let lower = if both { lower } else { None };
        comparison.directory(lower, upper, &path, &mut ahead)?;
    }
    comparison.relinked();
    comparison.changes.into_iter().for_each(|(path, kind)| report(Change { path, kind }));
    Ok(())
}

/// What identifies a file that has several names.
type Inode = (u64, u64);

#[derive(Default)]
struct Comparison {
    changes: BTreeMap<PathBuf, ChangeKind>,
    lower_links: HashMap<Inode, BTreeSet<Vec<u8>>>,
    upper_links: HashMap<Inode, BTreeSet<Vec<u8>>>,
}

impl Comparison {
    fn root(&mut self, lower: Option<BorrowedFd<'_>>, upper: BorrowedFd<'_>) -> Result<()> {
        let Some(lower) = lower else { return Ok(()) };
        let stat = |dir| rustix::fs::fstat(dir).map_err(|e| Error::io("read", b"", e));
        let (lower_stat, upper_stat) = (stat(lower)?, stat(upper)?);
        let names = Pair { lower: (lower, &lower_stat), upper: (upper, &upper_stat), name: b"", path: b"" };
        if !names.is_equal()? {
            self.change(b"", ChangeKind::Modified);
        }
        Ok(())
    }

    /// Compares the names in one directory, and puts the subdirectories ahead.
    fn directory(
        &mut self,
        lower: Option<BorrowedFd<'_>>,
        upper: BorrowedFd<'_>,
        path: &[u8],
        ahead: &mut Vec<(Vec<u8>, bool)>,
    ) -> Result<()> {
        let upper = open_dir(upper, path)?;
        let lower = lower.map(|lower| open_dir(lower, path)).transpose()?;
        let mut below = match &lower {
            Some(lower) => list(lower, path)?,
            None => BTreeMap::new(),
        };
        for (name, upper_stat) in list(&upper, path)? {
            let full = beneath::join(path, &name);
            note_links(&mut self.upper_links, &upper_stat, &full);
            let descend = is_dir(&upper_stat);
            let mut both = false;
            match (below.remove(&name), &lower) {
                (Some(lower_stat), Some(lower)) => {
                    note_links(&mut self.lower_links, &lower_stat, &full);
                    both = descend && is_dir(&lower_stat);
                    let pair = Pair {
                        lower: (lower.as_fd(), &lower_stat),
                        upper: (upper.as_fd(), &upper_stat),
                        name: &name,
                        path: &full,
                    };
                    if !pair.is_equal()? {
                        self.change(&full, ChangeKind::Modified);
                    }
                }
                _ => self.change(&full, ChangeKind::Added),
            }
            if descend {
                ahead.push((full, both));
            }
        }
        for (name, lower_stat) in below {
            let full = beneath::join(path, &name);
            note_links(&mut self.lower_links, &lower_stat, &full);
            self.change(&full, ChangeKind::Deleted);
        }
        Ok(())
    }

    /// Reports every name of a file whose set of names differs. Which names are one file is part of a tree, and a layer
    /// can say so only by bringing all of them: overlay copies them all up for the same reason.
    fn relinked(&mut self) {
        let lower = by_path(std::mem::take(&mut self.lower_links));
        let upper = by_path(std::mem::take(&mut self.upper_links));
        let paths: BTreeSet<&Vec<u8>> = lower.keys().chain(upper.keys()).collect();
        for path in paths {
            let (before, after) = (lower.get(path), upper.get(path));
            if before == after {
                continue;
            }
            for name in after.into_iter().flat_map(|names| names.iter()).chain([path]) {
                self.changes.entry(beneath::path_of(name)).or_insert(ChangeKind::Modified);
            }
        }
    }

    fn change(&mut self, path: &[u8], kind: ChangeKind) {
        self.changes.insert(beneath::path_of(path), kind);
    }
}

/// One name in both trees.
struct Pair<'a> {
    lower: (BorrowedFd<'a>, &'a Stat),
    upper: (BorrowedFd<'a>, &'a Stat),
    name: &'a [u8],
    path: &'a [u8],
}

impl Pair<'_> {
    fn is_equal(&self) -> Result<bool> {
        let ((lower_dir, lower), (upper_dir, upper)) = (self.lower, self.upper);
        if (lower.st_mode, lower.st_uid, lower.st_gid) != (upper.st_mode, upper.st_uid, upper.st_gid)
            || (lower.st_mtime, lower.st_mtime_nsec) != (upper.st_mtime, upper.st_mtime_nsec)
        {
            return Ok(false);
        }
        let identity = |s: &Stat| (s.st_dev, s.st_ino, s.st_ctime, s.st_ctime_nsec);
        if identity(lower) == identity(upper) && lower.st_size == upper.st_size {
            return Ok(true);
        }
        if attributes::read(lower_dir, self.name, self.path)? != attributes::read(upper_dir, self.name, self.path)? {
            return Ok(false);
        }
        match FileType::from_raw_mode(upper.st_mode) {
            FileType::RegularFile => Ok(lower.st_size == upper.st_size && self.same_content()?),
            FileType::Symlink => {
                let link = |dir| {
                    rustix::fs::readlinkat(dir, self.name, Vec::new()).map_err(|e| Error::io("read link", self.path, e))
                };
                Ok(link(lower_dir)? == link(upper_dir)?)
            }
            FileType::CharacterDevice | FileType::BlockDevice => Ok(lower.st_rdev == upper.st_rdev),
            _ => Ok(true),
        }
    }

    fn same_content(&self) -> Result<bool> {
        let failed = |e| Error::io("read", self.path, e);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |dir| rustix::fs::openat(dir, self.name, flags, Mode::empty()).map_err(failed);
        let (lower, upper) = (open(self.lower.0)?, open(self.upper.0)?);
        let (mut a, mut b) = (vec![0; BUFFER], vec![0; BUFFER]);
        loop {
            let (read_a, read_b) = (fill(&lower, &mut a).map_err(failed)?, fill(&upper, &mut b).map_err(failed)?);
            if a[..read_a] != b[..read_b] {
                return Ok(false);
            }
            if read_a == 0 {
                return Ok(true);
            }
        }
    }
}

fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    beneath::open_physical(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|e| Error::io("open directory", path, e))
}

/// The names in a directory with their metadata. Sockets are no part of any layer, so they do not exist here.
fn list(dir: &OwnedFd, path: &[u8]) -> Result<BTreeMap<Vec<u8>, Stat>> {
    let mut list = BTreeMap::new();
    for name in beneath::names(dir).map_err(|e| Error::io("read directory", path, e))? {
        match rustix::fs::statat(dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {}
            Ok(stat) => drop(list.insert(name, stat)),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::io("read", &beneath::join(path, &name), e)),
        }
    }
    Ok(list)
}

fn note_links(links: &mut HashMap<Inode, BTreeSet<Vec<u8>>>, stat: &Stat, path: &[u8]) {
    if stat.st_nlink > 1 && !is_dir(stat) {
        links.entry((stat.st_dev, stat.st_ino)).or_default().insert(path.to_vec());
    }
}

/// For every path that shares its file with others of the tree, all of them.
fn by_path(links: HashMap<Inode, BTreeSet<Vec<u8>>>) -> BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> {
    let groups = links.into_values().filter(|names| names.len() > 1);
    groups.flat_map(|names| names.clone().into_iter().map(move |name| (name, names.clone()))).collect()
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn fill(file: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut buffer[filled..]))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
