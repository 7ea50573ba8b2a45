//! `run`: create and start in one go, and what follows when a foreground container has ended.

use crate::ops::create::CreateRequest;
use crate::ops::start::{StartOptions, Started};
use crate::{Engine, Result};

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The container.
    pub create: CreateRequest,
    /// How to start it.
    pub start: StartOptions,
}

/// A running container.
pub struct Running {
    /// Its name.
    pub name: String,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
    /// The ID and the session.
    pub started: Started,
}

impl Engine {
    /// Creates and starts a container. When its command cannot be started the error's kind says so (`CommandNotFound`,
    /// `NotExecutable`); a container with `--rm` is then gone, another stays as created.
    pub async fn run(&self, request: RunRequest) -> Result<Running> {
        let _ = request;
        todo!()
    }

    /// To be called once by the client of a foreground container after its session reported the exit: waits until
    /// the monitor has cleaned up, and removes the container when it was made with `--rm`.
    pub async fn run_finished(&self, id: &str) -> Result<()> {
        let _ = id;
        todo!()
    }
}
