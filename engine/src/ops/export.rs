//! `export`: a container's whole file system as one archive.

use std::io::Write;
use std::os::fd::AsFd as _;

use mica_layer::write_tree;

use super::copy::inside;
use super::root::Mounts;
use crate::{Engine, Error, Result};

impl Engine {
    /// Writes everything in a container's root as a tar stream. Volumes and the kernel's file systems are not in it.
    pub async fn export(&self, container: &str, mut out: Box<dyn Write + Send>) -> Result<()> {
        let (record, _) = self.look_up(container).await?;
        self.blocking(move |engine| {
            let root = engine.open_root(&record, Mounts::RootOnly)?;
            let owners = inside(record.ids.as_ref().filter(|_| root.is_running()));
            write_tree(root.directory.as_fd(), Some(&owners), &mut out).map_err(|source| Error::Layer {
                operation: "export",
                layer: record.name.clone(),
                source,
            })?;
            out.flush().map_err(Error::io("write", "the archive"))?;
            engine.tell_of(&record, "export");
            Ok(())
        })
        .await
    }
}
