//! `wait`: the exit code of a container, now or when it comes.

use crate::{Engine, Result};

impl Engine {
    /// Waits until a container does not run and returns its exit code.
    pub async fn wait(&self, container: &str) -> Result<i32> {
        let _ = container;
        todo!()
    }
}
