//! Applies one layer archive below a directory: `mod.rs` is the walk over its entries, and each kind of step has a file.
//!
//! What may happen: files appear, change or vanish below the target's root. What may not: anything outside of it,
//! whatever the archive says and whatever the target and the layers below contain. Three things see to that. Parents
//! are resolved by the kernel inside the root (`place`); the last component is only ever created, never opened or
//! followed (`create`); and overlay's own marks in an archive are dropped, so a layer cannot forge them.
//!
//! A regular file costs four calls: `openat`, `write`, `futimens`, `close`.

mod create;
mod meta;
pub(crate) mod name;
mod place;
#[cfg(test)]
mod tests;
mod whiteout;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;

use self::create::Layer;
use self::name::Meaning;
use crate::archive::Archive;
use crate::beneath;
use crate::copy::Owners;
use crate::error::{Error, Result};

/// How much of an archive is read at a time.
const BUFFER: usize = 512 * 1024;

/// How a deletion is recorded below the target, which the storage driver states and nobody guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whiteouts {
    /// The target holds the layers below already: what a whiteout names is removed from it.
    Direct,
    /// Overlay's own form for root: a 0:0 character device, `trusted.overlay.opaque`.
    OverlayTrusted,
    /// Overlay's form inside a user namespace: a 0:0 character device, `user.overlay.opaque`.
    OverlayUser,
    /// `.wh.` files are ordinary files: the form of a layer at rest, and of archives that are not layers (`cp -`).
    OciFiles,
}

/// Where a layer goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The directory to write into.
    pub root: BorrowedFd<'a>,
    /// A view of the layers below, where the target does not show them: what a layer presupposes is taken from here.
    pub merged: Option<BorrowedFd<'a>>,
    /// How deletions are recorded.
    pub whiteouts: Whiteouts,
}

/// Bounds on a layer; the default bounds nothing, the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of file content that are written.
    pub max_bytes: u64,
    /// The most entries.
    pub max_entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_bytes: u64::MAX, max_entries: u64::MAX }
    }
}

/// What applying a layer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many entries the archive had.
    pub entries: u64,
    /// How many bytes of file content were written.
    pub bytes: u64,
    /// Whether the result is the same whatever lies below: every parent directory and hard link target is in the layer.
    pub independent: bool,
    /// Attributes left out because the file system or the user namespace cannot hold them.
    pub dropped_xattrs: u64,
    /// Device nodes left out because this user namespace may not create them.
    pub skipped_devices: u64,
}

/// Applies the uncompressed archive `tar` below `target`. The archive is read to its end.
pub fn apply(tar: impl Read, target: &Target<'_>, limits: &Limits) -> Result<Applied> {
    apply_owned(tar, target, limits, None)
}

/// The same where a namespace lies between the archive and the target: `owners` tells who an owner of the one is in the other.
pub fn apply_owned(
    tar: impl Read,
    target: &Target<'_>,
    limits: &Limits,
    owners: Option<&Owners<'_>>,
) -> Result<Applied> {
    let mut source = BufReader::with_capacity(BUFFER, tar);
    let applied = apply_buffered(&mut source, target, limits, owners)?;
    drain(&mut source)?;
    Ok(applied)
}

/// Like [`apply`], straight from the source's buffer and only up to the archive's end marker.
pub(crate) fn apply_buffered(
    source: impl BufRead,
    target: &Target<'_>,
    limits: &Limits,
    owners: Option<&Owners<'_>>,
) -> Result<Applied> {
    let mut archive = Archive::new(source);
    let root = owners.map_or((0, 0), |owners| owners((0, 0)));
    let mut layer = Layer::new(*target, *limits, root);
    let mut path = Vec::new();
    while archive.next()?.is_some() {
        if let Some(owners) = owners {
            archive.change_owner(owners);
        }
        let entry = archive.entry();
        layer.count()?;
        let refuse = |reason: &str| Error::refused(&entry.path, reason);
        name::clean(&entry.path, &mut path).map_err(refuse)?;
        let (parent, base) = beneath::split(&path);
        let meaning = match target.whiteouts {
            Whiteouts::OciFiles => Meaning::Entry,
            _ if name::leads_through_whiteout(parent) => return Err(refuse("a whiteout cannot be a directory")),
            _ => name::meaning(base).map_err(refuse)?,
        };
        match meaning {
            Meaning::Entry => layer.create(&mut archive, &path)?,
            Meaning::Whiteout(name) => layer.delete(parent, name)?,
            Meaning::Opaque => layer.make_opaque(parent)?,
            Meaning::Ignored => {}
        }
    }
    layer.finish()
}

/// Reads what follows an archive's end marker: padding as a rule. It is part of the digest and of nothing else.
pub(crate) fn drain(source: &mut impl BufRead) -> Result<()> {
    loop {
        let length = source.fill_buf().map_err(Error::Source)?.len();
        if length == 0 {
            return Ok(());
        }
        source.consume(length);
    }
}
