//! One process of a build step, in the same cage as a container, in a root that becomes a layer.

use std::os::fd::OwnedFd;

use crate::build::{RunOutput, RunStep};
use crate::{Engine, Result};

impl Engine {
    /// Runs a process in `root`, a detached writable mount, and returns its exit status. The mount points and files that
    /// Mica puts into the root for it are gone afterwards. Dropping the future kills the process.
    pub async fn run_step(&self, root: OwnedFd, step: RunStep, output: &dyn RunOutput) -> Result<i32> {
        let _ = (root, step, output);
        todo!()
    }
}
