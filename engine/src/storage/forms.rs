//! The forms of a layer: one archive in several compressions, each a blob of its own or made by packing.

use std::str::FromStr as _;

use mica_layer::{DiffId, Digest, Packing};

use crate::manifest::Manifest;
use crate::store::locks::{Lock, LockName};
use crate::store::{layers, remote};
use crate::{Engine, Result};

/// Where the bytes of a layer's blob come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormOf {
    /// The blob is in the store, and has so many bytes.
    Blob(u64),
    /// Packing the layer makes it, as it did before.
    Packing(Packing),
}

impl Engine {
    /// How a blob of a layer is to be had without any registry. Blocks.
    pub(crate) fn form_of(&self, layer: &DiffId, blob: &Digest) -> Result<Option<FormOf>> {
        let (kept, packed) =
            self.store().read(|db| Ok((layers::blob_size(db, blob)?, remote::packed_by(db, layer, blob)?)))?;
        let found = fs_err::symlink_metadata(self.store().blob_path(blob)).ok().filter(std::fs::Metadata::is_file);
        if let Some(size) = kept.filter(|size| found.is_some_and(|found| found.len() == *size)) {
            return Ok(Some(FormOf::Blob(size)));
        }
        Ok(packed.and_then(|method| Packing::from_str(&method).ok()).map(FormOf::Packing))
    }

    /// Holds the blobs of a manifest's layers, when all of them are to be had without any registry. Blocks.
    pub(crate) fn hold_forms(&self, stack: &[DiffId], manifest: &Manifest) -> Result<Option<Vec<Lock>>> {
        let mut locks = Vec::new();
        if stack.len() != manifest.layers.len() {
            return Ok(None);
        }
        for (layer, listed) in stack.iter().zip(&manifest.layers) {
            locks.push(self.store().lock_shared(&LockName::Layer(layer.clone()))?);
            locks.push(self.store().lock_shared(&LockName::Document(listed.digest.clone()))?);
            if self.sound_layer(layer)?.is_none() || self.form_of(layer, &listed.digest)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(locks))
    }
}
