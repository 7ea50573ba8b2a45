//! `diff`: what a container changed in its file system.

use std::path::Path;

use mica_layer::{Change, ChangeKind};

use crate::{Engine, Result};

/// Mount points that the runtime makes in a root that lacks them. They are ours and not the container's doing.
const MOUNT_POINTS: [&str; 6] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"];

impl Engine {
    /// The changes of a container against its image, in the order of paths. Paths are relative to the root.
    pub async fn diff(&self, container: &str) -> Result<Vec<Change>> {
        let (record, _) = self.look_up(container).await?;
        let chain = self.ensure_chain_on(&record.driver, &record.diff_ids).await?;
        let mut changes = self.rw_changes(&chain, &record.id).await?;
        changes.retain(|change| !change.path.as_os_str().is_empty() && !is_mount_point(change));
        Ok(changes)
    }
}

fn is_mount_point(change: &Change) -> bool {
    change.kind == ChangeKind::Added && MOUNT_POINTS.iter().any(|path| change.path == Path::new(path))
}
