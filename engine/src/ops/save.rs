//! `save`: images become an archive that Docker, Podman and skopeo read.

use std::io::Write;

use crate::{Engine, Result};

/// What the archive looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveFormat {
    /// `manifest.json` and `repositories` over a valid OCI layout, as Docker writes since version 25.
    #[default]
    Docker,
    /// An OCI layout alone.
    Oci,
}

impl Engine {
    /// Writes images, named by reference or ID, to `sink`.
    pub async fn save(&self, names: &[String], format: ArchiveFormat, sink: Box<dyn Write + Send>) -> Result<()> {
        let _ = (names, format, sink);
        todo!()
    }
}
