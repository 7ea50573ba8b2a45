//! `diff`: what a container changed in its file system.

use mica_layer::Change;

use crate::{Engine, Result};

impl Engine {
    /// The changes of a container against its image, in the order of paths. Paths are relative to the root.
    pub async fn diff(&self, container: &str) -> Result<Vec<Change>> {
        let record = self.container(container).await?.record;
        let chain = self.ensure_chain_on(&record.driver, &record.diff_ids).await?;
        self.rw_changes(&chain, &record.id).await
    }
}
