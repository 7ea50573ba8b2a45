//! `attach`: a further client on a running container's streams.

use crate::ops::start::Started;
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Attaches to a running container.
    pub async fn attach(&self, container: &str) -> Result<Started> {
        let (record, state) = self.look_up(container).await?;
        if !state.is_running() {
            return Err(Error::refused(Kind::Conflict, "cannot attach to a stopped container, start it first"));
        }
        let session = self.options().runtime.attach(&self.store().directories(&record.id).run).await?;
        Ok(Started { id: record.id, session, tty: record.spec.tty, stdin_open: record.spec.stdin_open })
    }
}
