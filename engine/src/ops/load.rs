//! `load`: archives written by `save`, by Docker, Podman and skopeo become images.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use mica_layer::{DiffId, Digest};

use crate::{Engine, Reference, Result};

/// Where an archive comes from.
pub enum ArchiveSource {
    /// A file, read in place.
    File(PathBuf),
    /// A stream, spooled into the store first because its index stands at its end.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for ArchiveSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// What `load` reports while it goes on; called from several threads at once.
pub trait LoadProgress: Send + Sync {
    /// A layer is about to be unpacked; `size` is that of its archive.
    fn layer_begin(&self, layer: &DiffId, size: u64);
    /// So many bytes of the layer's archive have been read.
    fn layer_bytes(&self, layer: &DiffId, done: u64);
    /// The layer is whole, or was there already.
    fn layer_end(&self, layer: &DiffId);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl LoadProgress for Silent {
    fn layer_begin(&self, _layer: &DiffId, _size: u64) {}
    fn layer_bytes(&self, _layer: &DiffId, _done: u64) {}
    fn layer_end(&self, _layer: &DiffId) {}
}

/// One image of a loaded archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image's ID.
    pub image: Digest,
    /// The names it was given; none when the archive has none.
    pub references: Vec<Reference>,
    /// Names that another image had before, with that image's ID.
    pub replaced: Vec<(Reference, Digest)>,
}

impl Engine {
    /// Loads every image of an archive.
    pub async fn load(&self, source: ArchiveSource, progress: Arc<dyn LoadProgress>) -> Result<Vec<Loaded>> {
        let _ = (source, progress);
        todo!()
    }
}
