//! `docker://NAME`: a repository of a registry, to read from and to write to.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::Means;
use super::ends::{Source, Target};
use crate::manifest::{Descriptor, Document};
use crate::ops::pull::{Documents, FromRegistry};
use crate::registry::{BlobSink, Registry, Upload};
use crate::{Error, Reference, Result};

/// A repository with the name that counts.
#[derive(Debug)]
pub(super) struct Repository {
    registry: Arc<dyn Registry>,
    reference: Reference,
}

impl Repository {
    pub(super) fn new(means: &Means, reference: Reference) -> Repository {
        Repository { registry: Arc::clone(&means.registry), reference }
    }
}

#[async_trait]
impl Documents for Repository {
    fn called(&self) -> String {
        self.reference.familiar()
    }

    async fn listed(&self, entry: &Descriptor) -> Result<Document> {
        FromRegistry { registry: &*self.registry, reference: &self.reference }.listed(entry).await
    }
}

#[async_trait]
impl Source for Repository {
    async fn named(&self) -> Result<Document> {
        self.registry.manifest(&self.reference).await
    }

    async fn read(&self, blob: &Descriptor, range: Range<u64>) -> Result<Vec<u8>> {
        let length = usize::try_from(range.end - range.start).unwrap_or_default();
        let mut piece = Piece(Vec::with_capacity(length));
        let fetched = self.registry.fetch_blob(&self.reference, blob, range, &mut piece).await;
        fetched.map_err(|source| Error::Adapter {
            kind: source.kind(),
            context: format!("cannot read blob `{}`", blob.digest),
            source: Box::new(source),
        })?;
        Ok(piece.0)
    }

    async fn admit(&self, chain: &[Document]) -> Result<()> {
        self.registry.admit(&self.reference, chain).await
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }
}

#[async_trait]
impl Target for Repository {
    fn at_once(&self) -> usize {
        3
    }

    async fn has(&self, blob: &Descriptor, from: Option<&Reference>) -> Result<bool> {
        if self.registry.has_blob(&self.reference, &blob.digest).await? {
            return Ok(true);
        }
        let neighbour =
            from.filter(|from| from.domain() == self.reference.domain() && from.path() != self.reference.path());
        let Some(from) = neighbour else { return Ok(false) };
        // A registry that will not take it over is sent the bytes.
        Ok(self.registry.mount_blob(&self.reference, &blob.digest, from).await.unwrap_or_else(|error| {
            tracing::debug!(blob = %blob.digest, %error, "cannot take a blob over");
            false
        }))
    }

    async fn begin(&self, _blob: &Descriptor) -> Result<Box<dyn Upload>> {
        self.registry.begin_upload(&self.reference).await
    }

    async fn listed(&self, document: &Document) -> Result<()> {
        let name = Reference::parse(&format!("{}@{}", self.reference.repository(), document.digest))?;
        self.registry.push_manifest(&name, document).await
    }

    async fn finish(&self, named: &Document) -> Result<()> {
        self.registry.push_manifest(&self.reference, named).await
    }
}

struct Piece(Vec<u8>);

impl BlobSink for Piece {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
