//! `wait`: the exit code of a container, now or when it comes.

use crate::runtime::SessionEvent;
use crate::{Engine, Kind, Result};

impl Engine {
    /// Waits until a container does not run and returns its exit code.
    pub async fn wait(&self, container: &str) -> Result<i32> {
        let (record, state) = self.look_up(container).await?;
        if !state.is_running() {
            return Ok(state.exit_code());
        }
        let run = self.store().directories(&record.id).run;
        if record.spec.auto_remove {
            // Its record goes with it, so the code is heard from the monitor itself.
            match self.options().runtime.attach(&run).await {
                Ok(mut session) => {
                    while let Some(event) = session.next().await? {
                        if let SessionEvent::Exited(code) = event {
                            return Ok(code);
                        }
                    }
                }
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        self.options().runtime.wait(&run).await?;
        let (_, state) = self.look_up(&record.id).await?;
        Ok(state.exit_code())
    }
}
