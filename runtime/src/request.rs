//! What a client asks of a new monitor, as it travels in the first frame.

use std::path::PathBuf;

use mica_engine::runtime::{ExecRequest, StartRequest};
use serde::{Deserialize, Serialize};

/// How many descriptors travel with a request at most: the kernel takes no more in one message (`SCM_MAX_FD`).
pub const DESCRIPTORS: usize = 253;

/// The JSON of the first frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start a container. The mount of its root file system travels with the frame, then its network and its user namespace
    /// if the request says so, then the other mounts, then what holds its published ports, then what else is to be kept open.
    Start {
        /// The container.
        request: Box<StartRequest>,
        /// The names of the other mounts, in their order.
        mounts: Vec<String>,
        /// How many descriptors hold ports.
        ports: usize,
        /// Where compiled seccomp filters are kept.
        cache: Option<PathBuf>,
    },
    /// Start a further process in a running container.
    Exec(Box<ExecRequest>),
    /// Become this command, at a low priority.
    Detach(Vec<String>),
}

/// `<run_dir>/runtime.json`: what a monitor tells those who enter its container later.
#[derive(Debug, Serialize, Deserialize)]
pub struct RuntimeRecord {
    /// Directory with `config.json`, whose seccomp profile an exec'd process gets too.
    pub bundle: PathBuf,
    /// The external OCI runtime that created the container, if one did.
    pub oci_runtime: Option<String>,
    /// Where compiled seccomp filters are kept.
    pub cache: Option<PathBuf>,
}
