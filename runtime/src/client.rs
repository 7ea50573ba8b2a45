//! `MonitorRuntime`: the engine's runtime over monitors.

mod executable;
mod launch;
mod session;

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use mica_engine::Result;
use mica_engine::runtime::{Descriptors, ExecRequest, RunState, Runtime, Session, StartRequest};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::Error;
use crate::frame::Frame;
use crate::request::Request;
use session::MonitorSession;

/// Starts a program for a client whose own children may not have the control groups of containers: given by a descriptor, with a
/// standard input and an environment.
#[derive(Clone)]
pub struct Starter(pub Arc<StartProgram>);

/// What [`Starter`] does.
pub type StartProgram =
    dyn Fn(BorrowedFd<'_>, BorrowedFd<'_>, &[(OsString, OsString)]) -> std::io::Result<()> + Send + Sync;

impl std::fmt::Debug for Starter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Starter")
    }
}

/// Containers under one `mica-monitor` each.
#[derive(Debug, Clone)]
pub struct MonitorRuntime {
    /// The `mica-monitor` executable.
    pub monitor: PathBuf,
    /// The external OCI runtime for requests that name none; `None` is the embedded one.
    pub default_runtime: Option<String>,
    /// Directory for compiled seccomp filters, writable by nobody else; `None` compiles one for every container.
    pub cache: Option<PathBuf>,
    /// A descriptor that each monitor of a container holds as long as it lives.
    pub kept: Option<Arc<OwnedFd>>,
    /// Who starts monitors in this client's place.
    pub starter: Option<Starter>,
}

impl MonitorRuntime {
    /// A runtime that uses this `mica-monitor` and the embedded OCI runtime.
    pub fn new(monitor: impl Into<PathBuf>) -> Self {
        Self { monitor: monitor.into(), default_runtime: None, cache: None, kept: None, starter: None }
    }

    /// The same with an external OCI runtime, by name or path, for requests that name none.
    #[must_use]
    pub fn with_default_runtime(mut self, runtime: Option<String>) -> Self {
        self.default_runtime = runtime;
        self
    }

    /// The same with a directory, which must exist, for compiled seccomp filters: it saves 15 ms a container.
    #[must_use]
    pub fn with_cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache = Some(directory.into());
        self
    }

    /// The same with something that has to stay open as long as containers live.
    #[must_use]
    pub fn with_kept(mut self, kept: Option<Arc<OwnedFd>>) -> Self {
        self.kept = kept;
        self
    }

    /// The same with somebody else who starts monitors.
    #[must_use]
    pub fn with_starter(mut self, starter: Option<Starter>) -> Self {
        self.starter = starter;
        self
    }

    async fn open_session(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<MonitorSession> {
        let (monitor, starter) = (self.monitor.clone(), self.starter.clone());
        let context = match &request {
            Request::Start { request, .. } => format!("cannot start container `{}`", request.id),
            Request::Exec(request) => format!("cannot run a command in container `{}`", request.id),
            Request::Detach(command) => format!("cannot start `{}`", command.join(" ")),
        };
        let socket =
            tokio::task::spawn_blocking(move || launch::launch(&monitor, starter.as_ref(), &request, &descriptors))
                .await
                .unwrap_or(Err(Error::Silent))
                .map_err(|error| error.during(context.as_str()))?;
        MonitorSession::open(socket, &context).await
    }
}

#[async_trait]
impl Runtime for MonitorRuntime {
    fn name(&self) -> &str {
        self.default_runtime.as_deref().unwrap_or("mica")
    }

    async fn start(&self, mut request: StartRequest, descriptors: Descriptors) -> Result<Box<dyn Session>> {
        request.oci_runtime = request.oci_runtime.or_else(|| self.default_runtime.clone());
        let Descriptors { root, mounts, network, user, ports, kept } = descriptors;
        let (names, mounts): (Vec<String>, Vec<OwnedFd>) = mounts.into_iter().unzip();
        let request =
            Request::Start { request: Box::new(request), mounts: names, ports: ports.len(), cache: self.cache.clone() };
        let own = self.kept.as_ref().map(|kept| kept.try_clone()).transpose();
        let own = own.map_err(|source| {
            Error::Connection { operation: "share a descriptor with", source }.during("cannot start a container")
        })?;
        let descriptors = std::iter::once(root)
            .chain(network)
            .chain(user)
            .chain(mounts)
            .chain(ports)
            .chain(kept)
            .chain(own)
            .collect();
        Ok(Box::new(self.open_session(request, descriptors).await?))
    }

    async fn attach(&self, run_dir: &Path) -> Result<Box<dyn Session>> {
        let context = format!("cannot attach to the container in `{}`", run_dir.display());
        let socket = launch::connect(run_dir).map_err(|error| error.during(context.as_str()))?;
        Ok(Box::new(MonitorSession::open(socket, &context).await?))
    }

    async fn exec(&self, request: ExecRequest) -> Result<Box<dyn Session>> {
        let detach = request.detach;
        let mut session = self.open_session(Request::Exec(Box::new(request)), Vec::new()).await?;
        if detach {
            session.finish();
        }
        Ok(Box::new(session))
    }

    async fn hold_ports(&self, run_dir: &Path, ports: Vec<OwnedFd>) -> Result<()> {
        let context = "cannot change the published ports of a container";
        let socket = launch::connect(run_dir).map_err(|error| error.during(context))?;
        let sending =
            socket.try_clone().map_err(|source| Error::Connection { operation: "use", source }.during(context))?;
        let session = MonitorSession::open(socket, context).await?;
        launch::send(&sending, &Frame::HoldPorts.to_bytes(), &ports).map_err(|error| error.during(context))?;
        session.held(context).await
    }

    async fn kill(&self, run_dir: &Path, signal: i32) -> Result<()> {
        let send = || {
            let state = read_state(run_dir)?;
            crate::signal_process(state.pid, state.pid_start, signal).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => Error::NotRunning { run_dir: run_dir.into() },
                _ => Error::Io { operation: "signal the container in", path: run_dir.into(), source },
            })
        };
        send().map_err(|error| error.during(format!("cannot send signal {signal}")))
    }

    fn detach(&self, command: &[String]) -> Result<()> {
        // The monitor reads its request from the socket's buffer, so this end need not stay open.
        launch::launch(&self.monitor, None, &Request::Detach(command.to_vec()), &[])
            .map(drop)
            .map_err(|error| error.during(format!("cannot start `{}`", command.join(" "))))
    }

    async fn next_exit(&self, run_dir: &Path) -> Result<Option<i32>> {
        let context = "cannot wait for the container's process";
        let socket = match launch::connect(run_dir) {
            Ok(socket) => socket,
            Err(Error::NotRunning { .. }) => return Ok(None),
            Err(error) => return Err(error.during(context)),
        };
        match MonitorSession::open(socket, context).await {
            Ok(session) => session.exit().await,
            // A monitor that goes closes the sessions it has not begun.
            Err(_) => Ok(None),
        }
    }

    fn wake(&self, run_dir: &Path) {
        launch::connect(run_dir).ok();
    }

    async fn wait(&self, run_dir: &Path) -> Result<()> {
        let path = run_dir.join("lock");
        let (done, waiting) = tokio::sync::oneshot::channel();
        // A thread of its own, not one of tokio's pool: a runtime that shuts down waits for its pool, and this wait
        // may last as long as the container.
        std::thread::spawn(move || done.send(wait_for_lock(&path)));
        waiting
            .await
            .unwrap_or(Err(Error::Silent))
            .map_err(|error| error.during("cannot wait for the container's monitor"))
    }
}

fn read_state(run_dir: &Path) -> Result<RunState, Error> {
    let path = run_dir.join("state.json");
    let text = fs_err::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotRunning { run_dir: run_dir.into() },
        _ => Error::Io { operation: "read", path, source },
    })?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { operation: "read a container's state", source })
}

fn wait_for_lock(path: &Path) -> Result<(), Error> {
    let failed =
        |source: rustix::io::Errno| Error::Io { operation: "wait for", path: path.into(), source: source.into() };
    let lock = match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(lock) => lock,
        // Without a lock file no monitor has ever run here.
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockShared)).map_err(failed)
}
