//! What a stack of layer directories shows when it is looked at from above: the merged directory, read and never made.
//!
//! A layer keeps its own files only. What it deletes of the layers below is an empty file `.wh.<name>`, and a directory with a
//! `.wh..wh..opq` hides all that lies below it: the notation of OCI archives, which any file system can hold. A mark speaks
//! about lower layers, so a name may stand beside its own mark.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_storage_api::layout::is_silent;
use mica_storage_api::{Key, Result, ResultExt, tree};
use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};

/// What the name of a mark begins with.
pub(crate) const MARK: &[u8] = b".wh.";
/// The mark of a directory that hides what lies below it.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

/// The layers of a chain, top first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain<'a> {
    /// The directory that holds them.
    pub(crate) layers: BorrowedFd<'a>,
    pub(crate) keys: &'a [Key<'a>],
}

/// A directory of the merged tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Relative to the root, which is empty.
    pub(crate) path: Vec<u8>,
    /// The layers that have a part of it, top first, as indices.
    pub(crate) parts: Vec<usize>,
    /// The layer whose part has its attributes.
    pub(crate) like: usize,
}

/// A visible name.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) kind: FileType,
    /// The layer that shows it.
    pub(crate) layer: usize,
    /// Of a directory: every layer that has a part of it, top first.
    pub(crate) parts: Vec<usize>,
}

impl Place {
    /// A directory below the root, which looks like the topmost part of it.
    pub(crate) fn new(path: Vec<u8>, parts: Vec<usize>) -> Self {
        Self { like: parts.first().copied().unwrap_or_default(), path, parts }
    }

    /// A directory in this one.
    pub(crate) fn below(&self, name: &CStr, parts: Vec<usize>) -> Self {
        Self::new(join(&self.path, name), parts)
    }
}

impl Chain<'_> {
    /// The root of the merged tree, which looks like that of the topmost layer that has one of its own, else like the
    /// bottom's. Every layer of the chain must be there.
    pub(crate) fn root(&self) -> Result<Place> {
        let mut like = None;
        for (index, key) in self.keys.iter().enumerate() {
            let stat = self.open(index, b"").and_then(fstat).during(|| format!("open `layers/{key}`"))?;
            if like.is_none() && !is_silent(&stat) {
                like = Some(index);
            }
        }
        let parts: Vec<usize> = (0..self.keys.len()).collect();
        Ok(Place { path: Vec::new(), like: like.or(parts.last().copied()).unwrap_or_default(), parts })
    }

    /// A layer's own part of a directory.
    pub(crate) fn open(&self, layer: usize, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let key = self.keys[layer].as_str().as_bytes();
        let whole = if path.is_empty() { key.to_vec() } else { [key, b"/", path].concat() };
        tree::open_path(self.layers, &whole)
    }

    /// The visible names of a directory. Sockets are no part of a layer.
    pub(crate) fn read(&self, place: &Place) -> rustix::io::Result<BTreeMap<CString, Found>> {
        let mut names: BTreeMap<CString, Name> = BTreeMap::new();
        for &layer in &place.parts {
            let dir = self.open(layer, &place.path)?;
            let (mut hides, mut opaque) = (Vec::new(), false);
            for (name, kind) in tree::names(dir.as_fd())? {
                if let Some(hidden) = name.to_bytes().strip_prefix(MARK) {
                    opaque |= name.to_bytes() == OPAQUE;
                    hides.extend(CString::new(hidden));
                    continue;
                }
                let kind = kind_of(dir.as_fd(), &name, kind)?;
                if kind != FileType::Socket {
                    names.entry(name).or_default().meet(layer, kind);
                }
            }
            for name in hides {
                names.entry(name).or_default().closed = true;
            }
            if opaque {
                break;
            }
        }
        Ok(names.into_iter().filter_map(|(name, seen)| Some((name, seen.found?))).collect())
    }

    /// The attributes of a visible entry.
    pub(crate) fn stat(&self, place: &Place, name: &CStr, found: &Found) -> rustix::io::Result<Stat> {
        statat(self.open(found.layer, &place.path)?, name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// What is known of a name while the layers are gone through from above.
#[derive(Default)]
struct Name {
    found: Option<Found>,
    /// Nothing further down belongs to it.
    closed: bool,
}

impl Name {
    fn meet(&mut self, layer: usize, kind: FileType) {
        let is_dir = kind == FileType::Directory;
        match &mut self.found {
            _ if self.closed => {}
            Some(found) if is_dir => found.parts.push(layer),
            Some(_) => self.closed = true,
            None => {
                self.found = Some(Found { kind, layer, parts: if is_dir { vec![layer] } else { Vec::new() } });
                self.closed = !is_dir;
            }
        }
    }
}

/// Some file systems do not tell types in a directory.
pub(crate) fn kind_of(dir: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<FileType> {
    match kind {
        FileType::Unknown => Ok(FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)),
        known => Ok(known),
    }
}

/// A path of one more component.
pub(crate) fn join(path: &[u8], name: &CStr) -> Vec<u8> {
    if path.is_empty() { name.to_bytes().to_vec() } else { [path, b"/", name.to_bytes()].concat() }
}
