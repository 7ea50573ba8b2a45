//! `inspect` of an image: everything that is known about one.

use mica_layer::Digest;

use crate::image::ImageConfig;
use crate::{Engine, Reference, Result};

/// Everything that is known about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDetails {
    /// The image's ID.
    pub id: Digest,
    /// Its names, sorted.
    pub references: Vec<Reference>,
    /// Digest of the manifest it came with, when it came with one.
    pub manifest: Option<Digest>,
    /// Its config.
    pub config: ImageConfig,
    /// Bytes of file content in all layers.
    pub size: u64,
    /// When it got its newest name, RFC 3339.
    pub last_tagged: Option<String>,
    /// The driver that holds it unpacked, if one does.
    pub driver: Option<String>,
}

impl Engine {
    /// Finds an image by name, name@digest, or a full or short ID.
    pub async fn inspect_image(&self, name: &str) -> Result<ImageDetails> {
        let _ = name;
        todo!()
    }
}
