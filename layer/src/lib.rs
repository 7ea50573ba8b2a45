//! OCI layer archives to directories and back.
//!
//! A layer arrives as a stream: [`unpack()`](unpack::unpack) decompresses it, computes its digests, and applies it below
//! a directory, all at once. It leaves as a stream too: [`compare_trees`] or a storage driver names what changed and
//! [`write_layer`] archives it. [`Tree`] is the judge of both: it sees everything a layer can carry.
//!
//! Everything here works below directory descriptors that the caller opened, and nothing here leaves them: that rule
//! lives in [`beneath`]. This crate knows no storage driver, registry or store.

pub mod apply;
pub mod archive;
mod attributes;
pub mod beneath;
pub mod changes;
pub mod compression;
pub mod copy;
pub mod diff;
pub mod digest;
mod error;
#[cfg(test)]
mod fixture;
mod give;
pub mod pack;
mod pipe;
pub mod tree;
pub mod unpack;
pub mod verify;
mod walk;

pub use apply::{Applied, Limits, Target, Whiteouts, apply, apply_owned};
pub use changes::{Change, ChangeKind, compare_trees};
pub use compression::{Compression, Decoder, Encoder};
pub use copy::{Copied, CopyOptions, Owners, copy_changes, copy_into};
pub use diff::{LayerStats, write_layer, write_subtree, write_tree};
pub use digest::{Algorithm, ChainId, DiffId, Digest, Hasher};
pub use error::{Error, ErrorKind, Result};
pub use give::give_tree;
pub use pack::{Packed, Packing, pack};
pub use tree::Tree;
pub use unpack::{Unpack, Unpacked, unpack};
pub use verify::{Difference, Verifier};
