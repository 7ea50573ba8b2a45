//! What differs between two trees.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::error::Result;

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
    let _ = (lower, upper, report);
    todo!()
}
