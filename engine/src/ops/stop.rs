//! `stop`: a polite signal, some patience, and `SIGKILL`.

use crate::{Engine, Result};

/// How to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Signal by name or number; the container's own when `None`.
    pub signal: Option<String>,
    /// Seconds to wait; the container's own when `None`, for ever when negative.
    pub timeout: Option<i64>,
}

impl Engine {
    /// Stops a container. One that does not run is left alone.
    pub async fn stop(&self, container: &str, options: StopOptions) -> Result<()> {
        let _ = (container, options);
        todo!()
    }
}
