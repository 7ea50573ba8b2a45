//! What a client asks of a new monitor, as it travels in the first frame.

use std::path::PathBuf;

use mica_engine::runtime::LogTarget;
use serde::{Deserialize, Serialize};

/// The JSON of the first frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start a container. The mount of its root file system travels with the frame.
    Start(Box<StartOrder>),
    /// Start a further process in a running container.
    Exec(Box<ExecOrder>),
}

/// [`mica_engine::runtime::StartRequest`] without its file descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartOrder {
    /// 64 hex digits.
    pub id: String,
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// Hot state.
    pub run_dir: PathBuf,
    /// State that survives a reboot.
    pub state_dir: PathBuf,
    /// The json-file log, or none.
    pub log: Option<LogTarget>,
    /// True for a terminal.
    pub terminal: bool,
    /// Its first size, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
    /// True to keep stdin open for clients.
    pub stdin: bool,
    /// True to end stdin with the first client that wrote to it.
    pub stdin_once: bool,
    /// What to run when no container is left.
    pub on_exit: Option<Vec<String>>,
    /// True to kill the container when the first session breaks off.
    pub die_with_client: bool,
    /// An external OCI runtime.
    pub oci_runtime: Option<String>,
    /// Where compiled seccomp filters are kept.
    pub cache: Option<PathBuf>,
}

/// [`mica_engine::runtime::ExecRequest`] as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExecOrder {
    /// The container.
    pub id: String,
    /// Its hot state.
    pub run_dir: PathBuf,
    /// The OCI `process` object.
    pub spec: oci_spec::runtime::Process,
    /// First size of the terminal, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
    /// True to connect stdin.
    pub stdin: bool,
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
