//! `import`: the archive of a root file system becomes an image of one layer.

// e1: the integrator is writing this file now (21:40); leave it.

use mica_layer::Digest;

use crate::ops::load::ArchiveSource;
use crate::{Engine, Result};

/// What `import` makes.
#[derive(Debug)]
pub struct ImportRequest {
    /// The archive, compressed or not.
    pub source: ArchiveSource,
    /// How `history` names where it came from, for example the file name or `-`.
    pub source_name: String,
    /// `REPOSITORY[:TAG]` to give it.
    pub reference: Option<String>,
    /// The history entry's comment.
    pub message: Option<String>,
    /// Dockerfile instructions for the config.
    pub changes: Vec<String>,
    /// `os/arch[/variant]`; this machine's when `None`.
    pub platform: Option<String>,
}

impl Engine {
    /// Makes an image of an archive and returns its ID.
    pub async fn import(&self, request: ImportRequest) -> Result<Digest> {
        let _ = request;
        todo!()
    }
}
