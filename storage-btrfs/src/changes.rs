//! What a container changed, from the inodes its subvolume has written since it was made.
//!
//! Every inode carries the transaction that last changed it, its names included, and a tree search finds those after the
//! snapshot without reading the rest: the kernel skips all that is shared with the layer. What was changed is then looked
//! for from the root down, beside the layer, entering no directory in which nothing lies that was changed. An inode of a
//! snapshot keeps its number, so equal numbers and no change mean equal subtrees. A directory that was renamed has another
//! number than what was at its new name, if anything was, and all in it is new there, changed or not.
//!
//! An access time is such a change too, and whoever looks into the store from outside of a container's mount, which is
//! `noatime`, may make one. The change time (ctime) tells it apart, which nobody can set back: a snapshot begins with the
//! layer's. A file that was changed and changed back is named; the comparison of both trees would not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mica_storage_api::changes::Changed;
use mica_storage_api::{ChangeKind, Result, ResultExt, tree};
use rustix::fs::{AtFlags, FileType, Stat, fgetxattr, flistxattr, fstat, statat};
use rustix::io::Errno;

use crate::ioctl::{self, SUBVOLUME_ROOT_INODE};

/// Finds what turns the tree of a layer into that of its snapshot.
pub(crate) fn find(snapshot: BorrowedFd<'_>, layer: BorrowedFd<'_>) -> Result<Changed> {
    let touched = Touched::since_made(snapshot).during(|| "search for the changed inodes of a subvolume")?;
    let device = fstat(snapshot).during(|| "stat a subvolume")?.st_dev;
    let mut search = Search { snapshot, layer, touched, device, changed: Changed::new() };
    let touched = search.touched.inodes.contains(&SUBVOLUME_ROOT_INODE);
    if touched && !same_root(snapshot, layer).during(|| "compare the roots of two subvolumes")? {
        search.changed.insert(PathBuf::new(), ChangeKind::Modified);
    }
    let mut ahead = vec![Directory { path: Vec::new(), below: true, numbered: true }];
    while let Some(directory) = ahead.pop() {
        search
            .compare(&directory, &mut ahead)
            .during(|| format!("compare `/{}`", String::from_utf8_lossy(&directory.path)))?;
    }
    Ok(search.changed)
}

/// What has changed since a subvolume was made.
struct Touched {
    inodes: HashSet<u64>,
    /// The changed inodes and every directory above one.
    above: HashSet<u64>,
}

impl Touched {
    fn since_made(subvolume: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        // What is still on its way into the tree is not found there.
        ioctl::sync(subvolume)?;
        let inodes = ioctl::inodes_changed_since_made(subvolume)?;
        let mut above = HashSet::new();
        let mut ahead: Vec<u64> = inodes.iter().copied().collect();
        while let Some(inode) = ahead.pop() {
            if above.insert(inode) && inode != SUBVOLUME_ROOT_INODE {
                ahead.extend(ioctl::parents(subvolume, inode)?);
            }
        }
        Ok(Self { inodes, above })
    }
}

/// A directory to be compared.
struct Directory {
    path: Vec<u8>,
    /// Whether the layer has a directory there.
    below: bool,
    /// Whether its inodes have the numbers of this subvolume: one that the container made inside has others.
    numbered: bool,
}

struct Search<'a> {
    snapshot: BorrowedFd<'a>,
    layer: BorrowedFd<'a>,
    touched: Touched,
    device: u64,
    changed: Changed,
}

impl Search<'_> {
    fn compare(&mut self, directory: &Directory, ahead: &mut Vec<Directory>) -> rustix::io::Result<()> {
        let dir = match tree::open_path(self.snapshot, &directory.path) {
            // A running container has removed it meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other?,
        };
        let below = directory.below.then(|| tree::open_path(self.layer, &directory.path)).transpose()?;
        let names = below.as_ref().map(|below| tree::names(below.as_fd())).transpose()?.unwrap_or_default();
        let mut gone: BTreeSet<_> = names.into_iter().map(|(name, _)| name).collect();
        for (name, _) in tree::names(dir.as_fd())? {
            let stat = match statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            // No archive holds one.
            if kind == FileType::Socket {
                continue;
            }
            let before = match (&below, gone.remove(&name)) {
                (Some(below), true) => Some(statat(below, &name, AtFlags::SYMLINK_NOFOLLOW)?),
                _ => None,
            };
            let numbered = directory.numbered && stat.st_dev == self.device;
            let same = |before: &Stat| {
                let changed = (before.st_ctime, before.st_ctime_nsec) != (stat.st_ctime, stat.st_ctime_nsec);
                let touched = self.touched.inodes.contains(&stat.st_ino);
                numbered && before.st_ino == stat.st_ino && !(touched && changed)
            };
            let path = join(&directory.path, &name);
            let (change, goes_on) = match &before {
                None => (Some(ChangeKind::Added), true),
                Some(before) if same(before) => (None, self.touched.above.contains(&stat.st_ino)),
                Some(_) => (Some(ChangeKind::Modified), true),
            };
            if kind == FileType::Directory && goes_on {
                let is_directory = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == kind;
                ahead.push(Directory {
                    path: path.clone(),
                    below: before.as_ref().is_some_and(is_directory),
                    numbered,
                });
            }
            if let Some(change) = change {
                self.changed.insert(path_of(&path), change);
            }
        }
        let gone = gone.iter().map(|name| (path_of(&join(&directory.path, name)), ChangeKind::Deleted));
        self.changed.extend(gone);
        Ok(())
    }
}

/// The root's change time moves with the subvolume's name, so it is compared in all a layer carries.
fn same_root(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let image = |dir| -> rustix::io::Result<_> {
        let stat = fstat(dir)?;
        Ok((stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec, attributes(dir)?))
    };
    Ok(image(a)? == image(b)?)
}

fn attributes(dir: BorrowedFd<'_>) -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut room = vec![0; 64 * 1024];
    let length = flistxattr(dir, &mut room[..])?;
    let names: Vec<_> =
        room[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    let mut found = BTreeMap::new();
    for name in names {
        let length = fgetxattr(dir, &name[..], &mut room[..])?;
        found.insert(name, room[..length].to_vec());
    }
    Ok(found)
}

fn join(directory: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
