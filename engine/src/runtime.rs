//! The runtime boundary: a bundle becomes a process that outlives the command that started it.
//!
//! An adapter starts one monitor per container. The monitor takes an exclusive `flock` on `<run_dir>/lock` for its whole
//! life, so that a dead monitor is recognised without guessing about process ids, writes `<run_dir>/state.json`
//! ([`RunState`]) when the process runs, and `<state_dir>/exit.json` ([`ExitRecord`]) when it ends.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Starts, signals and enters containers.
#[async_trait]
pub trait Runtime: Send + Sync + std::fmt::Debug {
    /// The name shown by `info`, for example `mica` or `runc`.
    fn name(&self) -> &str;

    /// Starts a container's monitor and its process. Returns when the process runs, or with the reason why it does not
    /// (kinds `CommandNotFound` and `NotExecutable` for the command itself); after an error nothing is left running.
    ///
    /// `root` is a detached mount of the root file system; the monitor moves it to `<run_dir>/rootfs` in its own mount
    /// namespace. The returned session was attached before the process ran, so it sees the first byte of output.
    async fn start(&self, request: StartRequest, root: OwnedFd) -> Result<Box<dyn Session>>;

    /// Attaches to a running container.
    async fn attach(&self, run_dir: &std::path::Path) -> Result<Box<dyn Session>>;

    /// Starts a further process in a running container. With `detach` the session is already over when it returns.
    async fn exec(&self, request: ExecRequest) -> Result<Box<dyn Session>>;

    /// Sends a signal to the container's first process. A process that is gone is `Kind::Conflict`.
    async fn kill(&self, run_dir: &std::path::Path, signal: i32) -> Result<()>;

    /// Starts a command that outlives the caller and shares nothing with it: in a session of its own, with null streams, no
    /// inherited descriptors, `/` as its working directory, and a low priority for processor and disk. Returns as soon
    /// as it is on its way. Blocks for about a millisecond.
    fn detach(&self, command: &[String]) -> Result<()>;

    /// Waits until the container's monitor has recorded the exit and has gone.
    async fn wait(&self, run_dir: &std::path::Path) -> Result<()>;
}

/// What a monitor needs to start a container, beside the mount of its root.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartRequest {
    /// 64 hex digits.
    pub id: String,
    /// Directory with `config.json`. Its `root.path` is `<run_dir>/rootfs`, which the monitor creates and mounts.
    pub bundle: PathBuf,
    /// Hot state below the run root; may vanish at reboot.
    pub run_dir: PathBuf,
    /// State that survives a reboot: the log and the exit record.
    pub state_dir: PathBuf,
    /// Docker's json-file log, or none.
    pub log: Option<LogTarget>,
    /// True when the process gets a terminal (also set in the bundle).
    pub terminal: bool,
    /// First size of the terminal, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
    /// True to keep the process's stdin open for attached clients; else it reads `/dev/null`.
    pub stdin: bool,
    /// True to close stdin when the first client that wrote to it has gone or has sent its end (`StdinOnce`).
    pub stdin_once: bool,
    /// Argument vector the monitor runs, with no container left, after recording the exit (for `-d --rm`).
    pub on_exit: Option<Vec<String>>,
    /// True when the container must not outlive the client: the monitor kills it when the first session breaks off
    /// (build steps).
    pub die_with_client: bool,
    /// Name or path of an external OCI runtime; `None` is the embedded one.
    pub oci_runtime: Option<String>,
}

/// Where and how a container's output is logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogTarget {
    /// The json-file log.
    pub path: PathBuf,
    /// Size in bytes at which the file is rotated.
    pub max_size: Option<u64>,
    /// How many files are kept.
    pub max_files: u32,
}

/// What `exec` starts.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The container.
    pub id: String,
    /// Its hot state.
    pub run_dir: PathBuf,
    /// The OCI `process` object, complete (user, env, cwd, args, capabilities).
    pub spec: oci_spec::runtime::Process,
    /// First size of the terminal, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
    /// True to connect stdin; not with `detach`.
    pub stdin: bool,
    /// True to return once the process runs, without a session.
    pub detach: bool,
}

/// `<run_dir>/state.json`: what is known of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Process id of the monitor.
    pub monitor_pid: i32,
    /// Process id of the container's first process.
    pub pid: i32,
    /// Its start time in clock ticks since boot (`/proc/<pid>/stat` field 22), against reuse of the id.
    pub pid_start: u64,
    /// RFC 3339.
    pub started_at: String,
}

/// `<state_dir>/exit.json`: how a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The status a shell would see: 0 to 255, 128 + signal for a signal.
    pub code: i32,
    /// True when the kernel killed it for memory.
    pub oom_killed: bool,
    /// Why it did not run or was ended by the monitor.
    pub error: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
}

/// Streams of a container or an exec'd process.
#[async_trait]
pub trait Session: Send {
    /// The next event; `None` after `Exited` or when the monitor has gone. Safe to cancel.
    async fn next(&mut self) -> Result<Option<SessionEvent>>;

    /// The input side, once.
    fn take_input(&mut self) -> Option<Box<dyn SessionInput>>;
}

/// What a session reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// Bytes of standard output, or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// The process ended with this status (128 + signal for a signal).
    Exited(i32),
}

/// The input side of a session.
#[async_trait]
pub trait SessionInput: Send {
    /// Writes to the process's standard input or terminal, waiting while it is full.
    async fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Ends the standard input.
    async fn close(&mut self) -> Result<()>;
    /// Tells the terminal its size.
    async fn resize(&mut self, rows: u16, columns: u16) -> Result<()>;
    /// Sends a signal to the process.
    async fn signal(&mut self, signal: i32) -> Result<()>;
}
