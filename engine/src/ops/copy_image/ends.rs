//! The two ends of a copy, as the walk sees them.

use std::ops::Range;

use async_trait::async_trait;

use crate::manifest::{Descriptor, Document};
use crate::ops::pull::Documents;
use crate::registry::Upload;
use crate::{Reference, Result};

/// Where an image comes from.
#[async_trait]
pub(super) trait Source: Documents {
    /// What the reference stands for.
    async fn named(&self) -> Result<Document>;

    /// A range of a blob's bytes, all of it. Nobody has verified them.
    async fn read(&self, blob: &Descriptor, range: Range<u64>) -> Result<Vec<u8>>;

    /// Whether the rules of this machine admit an image, as [`crate::registry::Registry::admit`] has it.
    async fn admit(&self, _chain: &[Document]) -> Result<()> {
        Ok(())
    }

    /// The repository, where it is one: a registry can take blobs over from it.
    fn repository(&self) -> Option<&Reference> {
        None
    }
}

/// Where an image goes. Dropped before it is finished, it leaves nothing that looks whole.
#[async_trait]
pub(super) trait Target: Send + Sync {
    /// Refuses what it cannot hold, before anything moves.
    fn check(&self, _named: &Document) -> Result<()> {
        Ok(())
    }

    /// How many blobs it takes at a time.
    fn at_once(&self) -> usize {
        1
    }

    /// True when it has a blob, or could take it over from a repository of its own.
    async fn has(&self, blob: &Descriptor, from: Option<&Reference>) -> Result<bool>;

    /// Begins to take a blob. Whoever writes it verifies it before the end.
    async fn begin(&self, blob: &Descriptor) -> Result<Box<dyn Upload>>;

    /// Takes a document that an index lists; what it refers to is there.
    async fn listed(&self, document: &Document) -> Result<()>;

    /// Takes the document that the name will stand for, and ends.
    async fn finish(&self, named: &Document) -> Result<()>;
}
