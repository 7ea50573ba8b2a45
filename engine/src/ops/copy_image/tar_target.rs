//! `oci-archive:FILE` to write to: blobs go straight into the archive, which has its name when it is whole.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mica_layer::Digest;
use serde_json::json;

use super::ends::Target;
use super::layout::entry;
use crate::layout::{INDEX, Naming, OCI_LAYOUT, OCI_LAYOUT_CONTENT, Tar, Writer};
use crate::manifest::{Descriptor, Document, OCI_INDEX};
use crate::registry::Upload;
use crate::{Error, Kind, Reference, Result};

/// An archive that is being written; nothing when it is finished.
type Shared = Arc<Mutex<Option<Tar>>>;

/// The target.
#[derive(Debug)]
pub(super) struct OciArchive {
    tar: Shared,
    tag: Option<String>,
}

impl OciArchive {
    pub(super) fn create(path: &Path, tag: Option<String>, umask: u32) -> Result<OciArchive> {
        let mut tar = Tar::into_file(path, umask)?;
        tar.folder("blobs")?;
        tar.folder("blobs/sha256")?;
        Ok(OciArchive { tar: Arc::new(Mutex::new(Some(tar))), tag })
    }
}

fn with<T>(tar: &Shared, act: impl FnOnce(&mut Tar) -> Result<T>) -> Result<T> {
    match &mut *tar.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(tar) => act(tar),
        None => Err(Error::refused(Kind::Internal, "the archive is finished")),
    }
}

#[async_trait]
impl Target for OciArchive {
    async fn has(&self, _blob: &Descriptor, _from: Option<&Reference>) -> Result<bool> {
        Ok(false)
    }

    async fn begin(&self, blob: &Descriptor) -> Result<Box<dyn Upload>> {
        with(&self.tar, |tar| tar.begin(&Naming::Oci.blob(&blob.digest), blob.size))?;
        Ok(Box::new(Blob { tar: Arc::clone(&self.tar), size: blob.size }))
    }

    async fn listed(&self, document: &Document) -> Result<()> {
        let name = Naming::Oci.manifest(&document.digest);
        with(&self.tar, |tar| tar.member(&name, document.bytes.len() as u64, &mut &document.bytes[..]))
    }

    async fn finish(&self, named: &Document) -> Result<()> {
        self.listed(named).await?;
        let entries = [entry(named, self.tag.as_deref())];
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string();
        with(&self.tar, |tar| {
            tar.member(OCI_LAYOUT, OCI_LAYOUT_CONTENT.len() as u64, &mut OCI_LAYOUT_CONTENT.as_bytes())?;
            tar.member(INDEX, index.len() as u64, &mut index.as_bytes())
        })?;
        match self.tar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(tar) => Box::new(tar).finish(),
            None => Ok(()),
        }
    }
}

/// The blob that the archive is at.
struct Blob {
    tar: Shared,
    size: u64,
}

#[async_trait]
impl Upload for Blob {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        with(&self.tar, |tar| tar.content(bytes))
    }

    async fn finish(self: Box<Self>, _digest: &Digest) -> Result<()> {
        with(&self.tar, |tar| tar.end(self.size))
    }
}
