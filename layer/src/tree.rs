//! A comparable snapshot of a directory tree.

use std::os::fd::BorrowedFd;

use crate::digest::Digest;
use crate::error::Result;

/// Everything a layer can carry, of every path below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {}

impl Tree {
    /// Reads the tree below `root`.
    pub fn read(root: BorrowedFd<'_>) -> Result<Tree> {
        let _ = root;
        todo!()
    }

    /// A digest of everything in the tree.
    pub fn digest(&self) -> Digest {
        todo!()
    }

    /// The differences to `other`, one per line; empty when the trees are equal.
    pub fn diff(&self, other: &Tree) -> String {
        let _ = other;
        todo!()
    }
}
