//! `export`: a container's whole file system as one archive.

use std::io::Write;
use std::os::fd::AsFd as _;

use crate::ops::reach::Access;
use crate::{Engine, Error, Result};

impl Engine {
    /// Writes everything in a container's root as a tar stream, without what is mounted there.
    pub async fn export(&self, container: &str, mut out: Box<dyn Write + Send>) -> Result<()> {
        let found = self.container(container).await?;
        self.blocking(move |engine| {
            let root = engine.container_root(&found, Access::Read)?;
            let fail = |source| Error::Layer { operation: "export", layer: found.record.name.clone(), source };
            mica_layer::write_tree(root.fd.as_fd(), &mut out).map_err(fail)?;
            out.flush().map_err(Error::io("write", "the archive"))
        })
        .await
    }
}
