//! `attach`: a further client on a running container's streams.

use crate::container::ContainerState;
use crate::ops::start::Started;
use crate::ops::told::{Of, told};
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Attaches to a running container.
    pub async fn attach(&self, container: &str) -> Result<Started> {
        let (record, state) = self.look_up(container).await?;
        if !state.is_running() {
            return Err(Error::refused(Kind::Conflict, "cannot attach to a stopped container, start it first"));
        }
        if matches!(state, ContainerState::Restarting { .. }) {
            let message = "cannot attach to a restarting container, wait until the container is running";
            return Err(Error::refused(Kind::Conflict, message));
        }
        self.tell_of(&record, "attach");
        let session = self.options().runtime.attach(&self.store().directories(&record.id).run).await?;
        let session = told(session, self.teller(&record), Of::Container);
        Ok(Started { id: record.id, session, tty: record.spec.tty, stdin_open: record.spec.stdin_open })
    }
}
