//! What is started with the machine: containers that ran before and whose restart policy says so.

use super::ps::PsRequest;
use crate::runtime::STOPPED;
use crate::store::container_state::BUNDLE;
use crate::{Engine, Result};

impl Engine {
    /// Names of the containers to start when the machine has started, oldest first. Those that run already are not among
    /// them.
    pub async fn to_start_at_boot(&self) -> Result<Vec<String>> {
        let containers = self.ps(PsRequest { all: true, ..PsRequest::default() }).await?;
        let mut names = Vec::new();
        for container in containers.into_iter().rev().filter(|container| !container.state.is_running()) {
            let has_run = container.directory.join(BUNDLE).exists();
            let stopped = container.directory.join(STOPPED).exists();
            if has_run && container.record.spec.restart.starts_at_boot(stopped) {
                names.push(container.record.name);
            }
        }
        Ok(names)
    }
}
