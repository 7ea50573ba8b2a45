//! `images`: the list of images, from kept figures alone.

use mica_layer::Digest;

use crate::{Engine, Reference, Result};

/// One image as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The image's ID.
    pub id: Digest,
    /// Its names, sorted; empty for a dangling image.
    pub references: Vec<Reference>,
    /// Digest of the manifest it came with, when it came with one.
    pub manifest: Option<Digest>,
    /// RFC 3339, as the config has it.
    pub created: Option<String>,
    /// Bytes of file content in all layers.
    pub size: u64,
    /// Number of containers made from it.
    pub containers: u64,
    /// Labels of the config.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Engine {
    /// Lists images, youngest first. Filters are `name=value` pairs: `dangling`, `reference`, `before`, `since`,
    /// `label`, `until`; a reference pattern may also be given as `reference=…`.
    pub async fn images(&self, filters: &[(String, String)]) -> Result<Vec<ImageSummary>> {
        let _ = filters;
        todo!()
    }
}
