//! The runtime boundary: a bundle becomes a process that outlives the command that started it.
//!
//! An adapter starts one monitor per container. The monitor takes an exclusive `flock` on `<run_dir>/lock` for its whole
//! life, so that a dead monitor is recognised without guessing about process ids, writes `<run_dir>/state.json`
//! ([`RunState`]) when the process runs, and `<state_dir>/exit.json` ([`ExitRecord`]) when it ends.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::container::{HealthTimes, RestartPolicy};
use crate::events::Teller;

/// The mark in `state_dir` of a container that somebody has stopped. It is written before the signal is sent, and its
/// monitor, which looks for it when the process has ended, then starts no other.
pub const STOPPED: &str = "stopped";

/// A restart policy in `state_dir` that was set after the start, instead of the request's.
pub const RESTART: &str = "restart.json";

/// The name below `run_dir` by which a bundle names the network namespace that its container joins.
pub const NETWORK_LINK: &str = "netns";

/// The same for the user namespace.
pub const USER_LINK: &str = "userns";

/// The name below `run_dir` of a container that was renamed since it started, for what its monitor tells from then on.
pub const NAME: &str = "name";

/// Starts, signals and enters containers.
#[async_trait]
pub trait Runtime: Send + Sync + std::fmt::Debug {
    /// The name shown by `info`, for example `mica` or `runc`.
    fn name(&self) -> &str;

    /// Starts a container's monitor and its process. Returns when the process runs, or with the reason why it does not
    /// (kinds `CommandNotFound` and `NotExecutable` for the command itself); after an error nothing is left running.
    ///
    /// The monitor moves the mounts to their places in its own mount namespace, and makes `<run_dir>/netns` and
    /// `<run_dir>/userns` lead to the namespaces that came along. The returned session was attached before the process ran, so it sees the first byte of
    /// output.
    async fn start(&self, request: StartRequest, descriptors: Descriptors) -> Result<Box<dyn Session>>;

    /// Attaches to a running container.
    async fn attach(&self, run_dir: &std::path::Path) -> Result<Box<dyn Session>>;

    /// Starts a further process in a running container. With `detach` the session is already over when it returns.
    async fn exec(&self, request: ExecRequest) -> Result<Box<dyn Session>>;

    /// Gives a running container's monitor what holds the published ports from now on, in place of what did before, which is
    /// closed when this returns.
    async fn hold_ports(&self, run_dir: &std::path::Path, ports: Vec<OwnedFd>) -> Result<()>;

    /// Sends a signal to the container's first process. A process that is gone is `Kind::Conflict`.
    async fn kill(&self, run_dir: &std::path::Path, signal: i32) -> Result<()>;

    /// Starts a command that outlives the caller and shares nothing with it: in a session of its own, with null streams, no
    /// inherited descriptors, `/` as its working directory, and a low priority for processor and disk. Returns as soon
    /// as it is on its way. Blocks for about a millisecond.
    fn detach(&self, command: &[String]) -> Result<()>;

    /// Waits for the next end of the container's first process, whether or not another follows it, and returns its status.
    /// `None` when nothing runs, or when the monitor went without a word.
    async fn next_exit(&self, run_dir: &std::path::Path) -> Result<Option<i32>>;

    /// Makes a monitor that is about to start its container again look whether it still should. A monitor that is gone
    /// is fine.
    fn wake(&self, run_dir: &std::path::Path);

    /// Waits until the container's monitor has recorded the exit and has gone.
    async fn wait(&self, run_dir: &std::path::Path) -> Result<()>;
}

/// What travels to a monitor beside its request.
#[derive(Debug)]
pub struct Descriptors {
    /// A detached mount of the root file system, which goes to `<run_dir>/rootfs`.
    pub root: OwnedFd,
    /// What the bundle mounts from `<run_dir>/mounts/<name>`, as detached mounts; names are file names.
    pub mounts: Vec<(String, OwnedFd)>,
    /// The network namespace that the container joins, when its bundle names `<run_dir>/netns`.
    pub network: Option<OwnedFd>,
    /// The user namespace that the container joins, when its bundle names `<run_dir>/userns`.
    pub user: Option<OwnedFd>,
    /// What the monitor keeps open until it is given other ports.
    pub ports: Vec<OwnedFd>,
    /// What the monitor keeps open for its whole life and otherwise leaves alone.
    pub kept: Vec<OwnedFd>,
}

impl From<OwnedFd> for Descriptors {
    /// A root and nothing else.
    fn from(root: OwnedFd) -> Self {
        Self { root, mounts: Vec::new(), network: None, user: None, ports: Vec::new(), kept: Vec::new() }
    }
}

/// What a monitor needs to start a container, beside what travels as descriptors.
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
    /// Where the output is kept, or nowhere.
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
    /// True when a network namespace comes along.
    pub joins_network: bool,
    /// True when a user namespace comes along.
    pub joins_user: bool,
    /// A directory over which the monitor mounts a memory file system, and where everything is then that otherwise is in `run_dir` by the
    /// names of the bundle. For containers whose root is nobody on the host, and cannot pass through `run_dir`.
    pub place: Option<PathBuf>,
    /// Files that the monitor removes when the container has ended.
    pub transient: Vec<PathBuf>,
    /// What the monitor does when the process has ended, unless [`RESTART`] or [`STOPPED`] says otherwise by then.
    pub restart: RestartPolicy,
    /// With what the monitor tells of the container's starts and ends, when somebody may want to hear of them.
    pub events: Option<Teller>,
    /// How the monitor checks the container's health, when somebody wants that.
    pub health: Option<HealthRequest>,
    /// Name or path of an external OCI runtime; `None` is the embedded one.
    pub oci_runtime: Option<String>,
    /// Where the monitor puts the small init that the bundle mounts, when it mounts one.
    pub init: Option<PathBuf>,
    /// The processes of other containers whose namespaces the bundle joins.
    pub lenders: Vec<Lender>,
    /// The process whose `/dev/shm` the monitor mounts at `<run_dir>/shm`.
    pub shm_of: Option<i32>,
}

/// A process whose namespaces are joined. The number alone could be another's by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lender {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub pid_start: u64,
}

/// A health check. Its results are in [`crate::container::HEALTH`] in `state_dir`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthRequest {
    /// The OCI `process` object, complete; it must not have a terminal.
    pub process: oci_spec::runtime::Process,
    /// When it is made.
    pub times: HealthTimes,
}

/// Where a container's output is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LogTarget {
    /// Docker's json-file log.
    Files(LogFilesTarget),
    /// The systemd journal.
    Journal(JournalTarget),
}

/// A json-file log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogFilesTarget {
    /// The newest file.
    pub path: PathBuf,
    /// Size in bytes at which the file is rotated.
    pub max_size: Option<u64>,
    /// How many files are kept.
    pub max_files: u32,
    /// All but the newest are kept compressed.
    pub compress: bool,
    /// What every entry says beside its line.
    pub attributes: BTreeMap<String, String>,
}

/// A journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalTarget {
    /// Where it listens.
    pub socket: PathBuf,
    /// What every entry says beside its line.
    pub fields: BTreeMap<String, String>,
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
    /// With what the end is told of, when somebody may want to hear of it.
    pub events: Option<Teller>,
}

/// `<run_dir>/state.json`: what is known of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Process id of the monitor.
    pub monitor_pid: i32,
    /// Process id of the container's first process; 0 between two.
    pub pid: i32,
    /// Its start time in clock ticks since boot (`/proc/<pid>/stat` field 22), against reuse of the id.
    pub pid_start: u64,
    /// RFC 3339.
    pub started_at: String,
    /// How many times the monitor has started the container again.
    #[serde(default)]
    pub restarts: u32,
    /// How the last process ended, while the next one is waited for; `pid` is 0 then.
    #[serde(default)]
    pub restarting: Option<ExitRecord>,
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
    /// How many times the monitor had started the container again.
    #[serde(default)]
    pub restarts: u32,
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
    /// Says that the client goes and leaves the process running.
    async fn detach(&mut self) {}
}
