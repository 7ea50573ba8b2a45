//! `rename`: another name for a container.

use crate::{Engine, Result};

impl Engine {
    /// Gives a container a new name.
    pub async fn rename(&self, container: &str, name: &str) -> Result<()> {
        let _ = (container, name);
        todo!()
    }
}
