//! `rm`: the row first, durably; then the snapshot, the volumes made for it, and the directories.

use crate::{Engine, Result};

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it when it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container by ID, prefix or name.
    pub async fn remove(&self, container: &str, options: RemoveOptions) -> Result<()> {
        let _ = (container, options);
        todo!()
    }
}
