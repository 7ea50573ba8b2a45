//! Deletions: recorded in the target's own style, or done. They never concern what the same layer brings.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::place::{Dir, Places, kind};
use super::{Whiteouts, meta};
use crate::beneath;
use crate::error::{Error, Result};

/// The paths a layer has put in place so far, as keyed digests of 128 bits: a layer may have millions.
///
/// Only a target that shows the layers below needs to know; in the others everything is this layer's.
#[derive(Debug, Default)]
pub(super) struct Placed {
    keys: [RandomState; 2],
    paths: HashSet<(u64, u64)>,
}

impl Placed {
    pub fn insert(&mut self, dir: &[u8], name: &[u8]) {
        let key = self.key(dir, name);
        self.paths.insert(key);
    }

    pub fn contains(&self, dir: &[u8], name: &[u8]) -> bool {
        self.paths.contains(&self.key(dir, name))
    }

    fn key(&self, dir: &[u8], name: &[u8]) -> (u64, u64) {
        (self.keys[0].hash_one((dir, name)), self.keys[1].hash_one((dir, name)))
    }
}

/// Deletes `name` in `parent`.
pub(super) fn delete(places: &mut Places<'_>, placed: &Placed, parent: &[u8], name: &[u8]) -> Result<()> {
    if !places.target.whiteouts.is_overlay() {
        let Some(dir) = places.existing(parent)? else { return Ok(()) };
        return delete_below(places, placed, &dir, name);
    }
    let dir = places.dir(parent)?;
    let full = beneath::join(&dir.path, name);
    match rustix::fs::mknodat(&dir.fd, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            // The layer has the name too, which stays; a directory must not show the deleted one through itself.
            if kind(dir.fd.as_fd(), name).map_err(|e| Error::io("read", &full, e))? == Some(FileType::Directory) {
                let fd = beneath::open_child_dir(&dir.fd, name).map_err(|e| Error::io("open directory", &full, e))?;
                meta::set_opaque(fd.as_fd(), places.target.whiteouts, &full)?;
            }
            Ok(())
        }
        Err(e) => Err(Error::io("create whiteout", &full, e)),
    }
}

/// Makes the directory `path` hide what the layers below have in it. Returns false when the target alone cannot say
/// so, and the layers below have to be seen.
pub(super) fn make_opaque(places: &mut Places<'_>, placed: &Placed, path: &[u8]) -> Result<bool> {
    if places.target.whiteouts == Whiteouts::Direct {
        if let Some(dir) = places.existing(path)? {
            clean(places, placed, dir.path.clone())?;
        }
        return Ok(true);
    }
    let dir = places.dir(path)?;
    meta::set_opaque(dir.fd.as_fd(), places.target.whiteouts, path)?;
    if !dir.path.is_empty() {
        return Ok(true);
    }
    // Overlay does not look at this mark on a layer's root: each name needs its own whiteout.
    let Some(merged) = places.below(b"")? else { return Ok(false) };
    for name in beneath::names(&merged).map_err(|e| Error::io("read directory", path, e))? {
        delete(places, placed, b"", &name)?;
    }
    Ok(false)
}

fn delete_below(places: &mut Places<'_>, placed: &Placed, dir: &Dir, name: &[u8]) -> Result<()> {
    let full = beneath::join(&dir.path, name);
    if places.is_touched(&full) {
        return clean(places, placed, full);
    }
    if placed.contains(&dir.path, name) {
        return Ok(());
    }
    match beneath::remove_all(dir.fd.as_fd(), name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::io("remove", &full, e)),
    }
}

/// Empties a directory of everything that this layer did not bring.
fn clean(places: &Places<'_>, placed: &Placed, path: Vec<u8>) -> Result<()> {
    let mut paths = vec![path];
    while let Some(path) = paths.pop() {
        let dir = match beneath::open_physical(places.target.root, &path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
            Err(e) => return Err(Error::io("open directory", &path, e)),
        };
        for name in beneath::names(&dir).map_err(|e| Error::io("read directory", &path, e))? {
            let full = beneath::join(&path, &name);
            if places.is_touched(&full) {
                paths.push(full);
            } else if !placed.contains(&path, &name) {
                beneath::remove_all(dir.as_fd(), &name).map_err(|e| Error::io("remove", &full, e))?;
            }
        }
    }
    Ok(())
}
