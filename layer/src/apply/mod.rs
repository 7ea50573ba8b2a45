//! Applies one layer archive below a directory.

use std::io::Read;
use std::os::fd::BorrowedFd;

use crate::error::Result;

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
    let _ = (tar, target, limits);
    todo!()
}
