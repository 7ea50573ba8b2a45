//! `export`: a container's whole file system as one archive.

use std::io::Write;

use crate::{Engine, Result};

impl Engine {
    /// Writes everything in a container's root as a tar stream.
    pub async fn export(&self, container: &str, out: Box<dyn Write + Send>) -> Result<()> {
        let _ = (container, out);
        todo!()
    }
}
