//! The registry boundary: manifests by name and blobs by digest, from and to servers of the OCI distribution API.
//!
//! An adapter owns HTTP, credentials, mirrors, redirects and retries, and knows nothing of the store. What it hands over is
//! whole: manifests have been verified against the digest they were asked by; bytes of blobs have not, because whoever
//! stores them computes their digests anyway.

use std::ops::Range;

use async_trait::async_trait;
use mica_layer::Digest;

use crate::manifest::{Descriptor, Document};
use crate::{Reference, Result};

/// Talks to registries. Every call may take as long as the network does; dropping its future ends it.
///
/// Errors: `Kind::NotFound` for what the registry does not have, `Denied` for refused or missing credentials, `Unavailable`
/// for servers that cannot be reached or fail after all retries, `Corrupt` for answers that are not what they claim to be.
#[async_trait]
pub trait Registry: Send + Sync + std::fmt::Debug {
    /// The manifest or index a reference stands for: that of its digest where it has one, else that of its tag. At most
    /// [`crate::manifest::DOCUMENT_MAX`] bytes are read.
    async fn manifest(&self, reference: &Reference) -> Result<Document>;

    /// Whether the rules of this machine admit an image: `chain` leads from what the name stands for down to the image's
    /// manifest, all verified. Asked before any layer moves. `Kind::Denied` when they do not; without rules everything is
    /// admitted.
    async fn admit(&self, _reference: &Reference, _chain: &[Document]) -> Result<()> {
        Ok(())
    }

    /// What a reference means at present, without its bytes; `None` when the registry has no such thing.
    async fn look_up(&self, reference: &Reference) -> Result<Option<Descriptor>>;

    /// Streams a range of a blob's bytes, in order and no more than that, into `sink`. A connection that breaks is taken up
    /// again where it broke. The sink's errors are passed on.
    async fn fetch_blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        range: Range<u64>,
        sink: &mut dyn BlobSink,
    ) -> Result<()>;

    /// False once a repository's server was seen to send whole blobs where parts were asked for.
    fn serves_ranges(&self, _repository: &Reference) -> bool {
        true
    }

    /// True when the repository has the blob.
    async fn has_blob(&self, repository: &Reference, digest: &Digest) -> Result<bool>;

    /// Asks for a blob to be taken over from another repository of the same registry; false when it was not.
    async fn mount_blob(&self, repository: &Reference, digest: &Digest, from: &Reference) -> Result<bool>;

    /// Begins to upload a blob whose digest need not be known yet.
    async fn begin_upload(&self, repository: &Reference) -> Result<Box<dyn Upload>>;

    /// Goes on with an upload that another process has begun, at a place that [`Upload::place`] told: it comes back with how
    /// many bytes the registry has of it. `None` when the registry does not know it any more, or says of it what cannot be.
    async fn resume_upload(&self, _repository: &Reference, _place: &str) -> Result<Option<(Box<dyn Upload>, u64)>> {
        Ok(None)
    }

    /// Stores a manifest or index under the reference's tag, or by its digest where it has no tag. What it refers to must be
    /// there.
    async fn push_manifest(&self, reference: &Reference, document: &Document) -> Result<()>;

    /// The digests of manifests that refer to this one, of one artifact type or of all (OCI distribution-spec 1.1,
    /// `referrers`; falls back to the tag schema).
    async fn referrers(&self, subject: &Reference, artifact_type: Option<&str>) -> Result<Vec<Descriptor>>;

    /// The tags of a repository, in the registry's order, all pages.
    async fn tags(&self, repository: &Reference) -> Result<Vec<String>>;

    /// Repositories whose name or description contains a term, where the registry can search.
    async fn search(&self, request: &SearchRequest) -> Result<Vec<SearchResult>>;
}

/// Takes a blob's bytes, in order. Writing may block for as long as a page cache does.
pub trait BlobSink: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// A blob on its way to a registry. Dropped before its end, it stays where it got to, for the registry to forget.
#[async_trait]
pub trait Upload: Send {
    /// Sends the next bytes. They may be kept for a while to be sent again when a connection breaks. `Kind::Unavailable`: the
    /// upload is lost, and may be begun anew.
    async fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Where a later process can go on, once something has arrived. It changes with each request; it holds no credentials.
    fn place(&self) -> Option<&str> {
        None
    }

    /// Ends the upload; the registry verifies the digest. Fails like [`Upload::write`].
    async fn finish(self: Box<Self>, digest: &Digest) -> Result<()>;
}

/// What `search` looks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchRequest {
    /// The registry's host; Docker Hub when `None`.
    pub registry: Option<String>,
    /// The term.
    pub term: String,
    /// At most so many results.
    pub limit: usize,
}

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchResult {
    /// Its name, as `pull` takes it.
    pub name: String,
    /// What its owner says about it.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// True for an image of the registry's own programme.
    pub official: bool,
}
