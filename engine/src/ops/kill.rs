//! `kill`: one signal to a container's first process.

use crate::{Engine, Result};

impl Engine {
    /// Sends `signal` (a name with or without `SIG`, or a number) to a running container.
    pub async fn kill(&self, container: &str, signal: &str) -> Result<()> {
        let _ = (container, signal);
        todo!()
    }
}
