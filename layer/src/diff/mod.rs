//! Writes archives: a layer from its changes, or a whole tree.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::changes::Change;
use crate::error::Result;

/// What was written into an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerStats {
    /// How many entries, whiteouts included.
    pub entries: u64,
    /// How many bytes of file content.
    pub bytes: u64,
    /// How many bytes the archive has.
    pub size: u64,
    /// Sockets, which no archive can hold and which were left out.
    pub sockets: u64,
}

/// Writes the layer that `changes` describe; their content is read from `upper`.
///
/// `changes` may come in any order and may repeat a path. The bytes depend on nothing but the changes and what `upper`
/// holds. `upper` may be a merged view or an overlay upper directory.
pub fn write_layer(changes: &[Change], upper: BorrowedFd<'_>, out: impl Write) -> Result<LayerStats> {
    let _ = (changes, upper, out);
    todo!()
}

/// Writes everything below `root`, names relative to it and without an entry for the root itself.
pub fn write_tree(root: BorrowedFd<'_>, out: impl Write) -> Result<LayerStats> {
    let _ = (root, out);
    todo!()
}

/// Writes `path` below `root` and everything under it, the entries named `name` and `name/…`.
pub fn write_subtree(root: BorrowedFd<'_>, path: &Path, name: &Path, out: impl Write) -> Result<LayerStats> {
    let _ = (root, path, name, out);
    todo!()
}
