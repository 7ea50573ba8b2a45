//! `restart`: a container is stopped, if it runs, and started.

use super::start::StartOptions;
use super::stop::StopOptions;
use crate::{Engine, Result};

impl Engine {
    /// Stops a container and starts it again. Nobody stays attached.
    pub async fn restart(&self, container: &str, options: StopOptions) -> Result<()> {
        // By its ID from here on: its name may become another container's.
        let record = self.look_up(container).await?.0;
        self.stop(&record.id, options).await?;
        self.start(&record.id, StartOptions { terminal_size: None, detach: true }).await?;
        self.tell_of(&record, "restart");
        Ok(())
    }
}
