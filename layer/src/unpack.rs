//! The overlapped pipeline.

use std::io::{Read, Write};

use crate::apply::{Applied, Limits, Target};
use crate::compression::Compression;
use crate::digest::{DiffId, Digest};
use crate::error::Result;

/// One layer to be unpacked: where its bytes come from, what they must be, and where they go.
pub struct Unpack<'a> {
    /// The layer as it is stored or sent: compressed or not.
    pub source: &'a mut (dyn Read + Send),
    /// Where the layer is applied; nothing only verifies it.
    pub target: Option<Target<'a>>,
    /// Receives the source's bytes as they came.
    pub blob: Option<&'a mut (dyn Write + Send)>,
    /// The digest the source's bytes must have.
    pub expected_digest: Option<Digest>,
    /// The number of bytes the source must have; reading stops there.
    pub expected_size: Option<u64>,
    /// The digest the uncompressed bytes must have.
    pub expected_diff_id: Option<DiffId>,
    /// Bounds on what is applied.
    pub limits: Limits,
}

impl<'a> Unpack<'a> {
    /// Verifies nothing and applies nothing until its fields are set.
    pub fn new(source: &'a mut (dyn Read + Send)) -> Unpack<'a> {
        Unpack {
            source,
            target: None,
            blob: None,
            expected_digest: None,
            expected_size: None,
            expected_diff_id: None,
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for Unpack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpack")
            .field("target", &self.target)
            .field("expected_digest", &self.expected_digest)
            .field("expected_size", &self.expected_size)
            .field("expected_diff_id", &self.expected_diff_id)
            .finish_non_exhaustive()
    }
}

/// What a layer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the source's bytes.
    pub blob: Digest,
    /// How many bytes the source had.
    pub blob_size: u64,
    /// The digest of the uncompressed bytes.
    pub diff_id: DiffId,
    /// How many bytes the uncompressed archive had.
    pub diff_size: u64,
    /// How the source was compressed.
    pub compression: Compression,
    /// What applying did, when there was a target.
    pub applied: Option<Applied>,
}

/// Unpacks one layer: reading, decompressing, both digests and applying overlap on threads.
///
/// When this fails the target holds an unspecified part of the layer: the caller drops its stage.
pub fn unpack(request: Unpack<'_>) -> Result<Unpacked> {
    let _ = request;
    todo!()
}
