//! What a container changed: its tree beside the layers themselves, in one walk, without making the parents' tree.
//!
//! A path its manifest vouches for costs one stat. Everything else is compared with the layer's entry in full.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mica_storage_api::changes::Changed;
use mica_storage_api::{ChangeKind, Result, ResultExt, tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::chain::{Chain, Found, Place, join};
use crate::fill::Progress;
use crate::manifest::{Manifest, shown};

/// How much of two files is compared at a time.
const BUFFER: usize = 128 * 1024;

/// Finds what turns the merged tree of a chain into `tree`.
pub(crate) fn find(
    chain: Chain<'_>,
    tree: BorrowedFd<'_>,
    manifest: &Manifest,
    progress: &mut Progress,
) -> Result<Changed> {
    let mut search = Search { chain, manifest, changed: Changed::new(), below: Links::new(), above: Links::new() };
    let root = Some(chain.root()?).filter(|root| !root.parts.is_empty());
    if let Some(root) = &root {
        search.root(tree, root.like).during(|| "compare the root of a tree")?;
    }
    let mut ahead = vec![(Vec::new(), root)];
    while let Some((path, place)) = ahead.pop() {
        search.directory(tree, &path, place.as_ref(), &mut ahead, progress)?;
    }
    search.relinked();
    Ok(search.changed)
}

/// The names of each inode that has several.
type Links = HashMap<(u64, u64), BTreeSet<Vec<u8>>>;

struct Search<'a> {
    chain: Chain<'a>,
    manifest: &'a Manifest,
    changed: Changed,
    below: Links,
    above: Links,
}

impl Search<'_> {
    fn root(&mut self, tree: BorrowedFd<'_>, like: usize) -> rustix::io::Result<()> {
        let stat = |dir: BorrowedFd<'_>| statat(dir, c"", AtFlags::EMPTY_PATH);
        let (own, top) = (stat(tree)?, self.chain.open(like, b"")?);
        if !self.manifest.vouches_for(b"", &own) && !same((top.as_fd(), &stat(top.as_fd())?), (tree, &own), c"")? {
            self.changed.insert(PathBuf::new(), ChangeKind::Modified);
        }
        Ok(())
    }

    /// Compares the names of one directory and puts those in it ahead.
    fn directory(
        &mut self,
        tree: BorrowedFd<'_>,
        path: &[u8],
        place: Option<&Place>,
        ahead: &mut Vec<(Vec<u8>, Option<Place>)>,
        progress: &mut Progress,
    ) -> Result<()> {
        let show = |name: &CStr| format!("compare {}", shown(path, name));
        let dir = match tree::open_path(tree, path) {
            // The tree of a running container changes under the walk.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other.during(|| show(c""))?,
        };
        let mut found = place.map(|place| self.chain.read(place)).transpose().during(|| show(c""))?.unwrap_or_default();
        for (name, _) in tree::names(dir.as_fd()).during(|| show(c""))? {
            progress.step()?;
            let stat = match statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.during(|| show(&name))?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Socket {
                continue;
            }
            let full = join(path, &name);
            let before = found.remove(&name);
            if kind == FileType::Directory {
                let parts = before.as_ref().map(|found| found.parts.clone()).filter(|parts| !parts.is_empty());
                ahead.push((full.clone(), parts.map(|parts| Place::new(full.clone(), parts))));
            }
            // An inode whose change time is the recorded one has all the names it had, too.
            if before.is_some() && self.manifest.vouches_for(&full, &stat) {
                continue;
            }
            note(&mut self.above, &stat, &full);
            let before = before.as_ref().zip(place);
            if let Some(change) = self.differs(&dir, &name, &stat, before, &full).during(|| show(&name))? {
                self.changed.insert(path_of(&full), change);
            }
        }
        for (name, found) in found {
            let full = join(path, &name);
            if let Some(place) = place {
                note(&mut self.below, &self.chain.stat(place, &name, &found).during(|| show(&name))?, &full);
            }
            self.changed.insert(path_of(&full), ChangeKind::Deleted);
        }
        Ok(())
    }

    fn differs(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        before: Option<(&Found, &Place)>,
        full: &[u8],
    ) -> rustix::io::Result<Option<ChangeKind>> {
        let Some((found, place)) = before else { return Ok(Some(ChangeKind::Added)) };
        let below = self.chain.open(found.layer, &place.path)?;
        let old = statat(&below, name, AtFlags::SYMLINK_NOFOLLOW)?;
        note(&mut self.below, &old, full);
        let same = match same((below.as_fd(), &old), (dir.as_fd(), stat), name) {
            Err(Errno::NOENT) => false,
            other => other?,
        };
        Ok((!same).then_some(ChangeKind::Modified))
    }

    /// Which names are one file is part of a tree, and a layer can say so only by bringing all of them.
    fn relinked(&mut self) {
        let (below, above) = (by_path(std::mem::take(&mut self.below)), by_path(std::mem::take(&mut self.above)));
        let paths: BTreeSet<&Vec<u8>> = below.keys().chain(above.keys()).collect();
        for path in paths {
            let (before, after) = (below.get(path), above.get(path));
            if before != after {
                for name in after.into_iter().flatten().chain([path]) {
                    self.changed.entry(path_of(name)).or_insert(ChangeKind::Modified);
                }
            }
        }
    }
}

fn note(links: &mut Links, stat: &Stat, path: &[u8]) {
    if stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        links.entry((stat.st_dev, stat.st_ino)).or_default().insert(path.to_vec());
    }
}

/// For every path that shares its file with others of the tree, all of them. Views give files names outside of it.
fn by_path(links: Links) -> BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> {
    let groups = links.into_values().filter(|names| names.len() > 1);
    groups.flat_map(|names| names.clone().into_iter().map(move |name| (name, names.clone()))).collect()
}

/// Whether two entries of one name, or two directories themselves where it is empty, are the same in all a layer carries.
fn same(a: (BorrowedFd<'_>, &Stat), b: (BorrowedFd<'_>, &Stat), name: &CStr) -> rustix::io::Result<bool> {
    let image = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    if image(a.1) != image(b.1) {
        return Ok(false);
    }
    let same = match FileType::from_raw_mode(a.1.st_mode) {
        FileType::RegularFile => a.1.st_size == b.1.st_size && same_content(a.0, b.0, name)?,
        FileType::Symlink => readlinkat(a.0, name, Vec::new())? == readlinkat(b.0, name, Vec::new())?,
        FileType::CharacterDevice | FileType::BlockDevice => a.1.st_rdev == b.1.st_rdev,
        _ => true,
    };
    Ok(same && xattrs(a.0, name)? == xattrs(b.0, name)?)
}

fn same_content(a: BorrowedFd<'_>, b: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let (a, b) = (openat(a, name, flags, Mode::empty())?, openat(b, name, flags, Mode::empty())?);
    let (mut from_a, mut from_b) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let (read_a, read_b) = (read_full(&a, &mut from_a)?, read_full(&b, &mut from_b)?);
        if from_a[..read_a] != from_b[..read_b] {
            return Ok(false);
        }
        if read_a == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full(file: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut buffer[filled..]))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// All extended attributes of an entry. The calls that take a directory descriptor came with Linux 6.13.
fn xattrs(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let mut room = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(&path, &mut room[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names: Vec<CString> = room[..length]
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| Some(CStr::from_bytes_with_nul(name).ok()?.to_owned()))
        .collect();
    let mut found = BTreeMap::new();
    for name in names {
        let length = rustix::fs::lgetxattr(&path, &name, &mut room[..])?;
        found.insert(name, room[..length].to_vec());
    }
    Ok(found)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
