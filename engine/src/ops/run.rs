//! `run`: create and start in one go, and what follows when a foreground container has ended.

use crate::container::{ContainerState, RestartPolicy};
use crate::ops::create::{CreateRequest, Fresh, Purpose};
use crate::ops::start::{StartOptions, Started};
use crate::store::container_state::monitored;
use crate::{Engine, Kind, Result};

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The container.
    pub create: CreateRequest,
    /// How to start it.
    pub start: StartOptions,
}

/// A running container.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// The ID and the session.
    pub started: Started,
}

impl Engine {
    /// Creates and starts a container. When its command cannot be started the error's kind says so (`CommandNotFound`,
    /// `NotExecutable`); a container with `--rm` is then gone, another stays as created.
    pub async fn run(&self, request: RunRequest) -> Result<Running> {
        let RunRequest { create, start } = request;
        let Fresh { record, chain, claim } = self.create_fresh(create, Purpose::Run).await?;
        let (id, name, auto_remove) = (record.id.clone(), record.name.clone(), record.spec.auto_remove);
        match self.start_claimed(record, chain, claim, start).await {
            Ok(started) => Ok(Running { name, started }),
            Err(error) => {
                if auto_remove {
                    self.remove_if_there(&id).await?;
                }
                Err(error)
            }
        }
    }

    /// To be called once by the client of a foreground container after its session reported the exit: waits until
    /// the monitor has cleaned up, and removes the container when it was made with `--rm`.
    pub async fn run_finished(&self, id: &str) -> Result<()> {
        match self.store().find_container(id) {
            // Its monitor starts it again, and does not go.
            Ok(record) if record.spec.restart != RestartPolicy::No => return Ok(()),
            _ => {}
        }
        let run = self.store().directories(id).run;
        if monitored(&run)? {
            self.options().runtime.wait(&run).await?;
        }
        let id = id.to_owned();
        self.blocking(move |engine| {
            let record = match engine.store().find_container(&id) {
                Ok(record) if record.spec.auto_remove => record,
                // Someone else was faster, or it is to stay.
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == Kind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let Ok(_claim) = engine.store().claim(&record.id) else { return Ok(()) };
            match engine.state_of_claimed(&record)? {
                ContainerState::Exited { .. } => engine.remove_claimed(&record, true),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn remove_if_there(&self, id: &str) -> Result<()> {
        let options = super::remove::RemoveOptions { force: true, volumes: true };
        match self.remove(id, options).await {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            result => result,
        }
    }
}
