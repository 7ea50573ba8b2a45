//! `start`: a created or exited container gets its root mounted, its bundle written and its monitor started.

use std::os::fd::{AsFd, OwnedFd};

use super::exec::{ExecOptions, exec_process};
use super::log_target;
use super::prepare::INIT;
use crate::bundle::host::Host;
use crate::container::ContainerRecord;
use crate::ops::networking::Connected;
use crate::ops::told::{Of, told};
use crate::runtime::{Descriptors, HealthRequest, RESTART, STOPPED, Session, SessionEvent, SessionInput, StartRequest};
use crate::storage::{Chain, Volatility};
use crate::store::container_state::{BUNDLE, EXIT, FAILURE, StartFailure, write};
use crate::store::containers::{Claim, Directories, remove_directory};
use crate::store::private_directory;
use crate::{Engine, Error, Kind, Result};

/// How to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// First size of the terminal, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
    /// True when no client stays: a container with `--rm` is then removed by its monitor.
    pub detach: bool,
}

/// A container that has just started.
pub struct Started {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Attached before the process ran, so it sees the first byte of output. Drop it to detach.
    pub session: Box<dyn Session>,
    /// True when the process has a terminal.
    pub tty: bool,
    /// True when the process reads its stdin from clients.
    pub stdin_open: bool,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").field("id", &self.id).field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// The session of whoever wants none.
struct Silence;

#[async_trait::async_trait]
impl Session for Silence {
    async fn next(&mut self) -> Result<Option<SessionEvent>> {
        Ok(None)
    }

    fn take_input(&mut self) -> Option<Box<dyn SessionInput>> {
        None
    }
}

impl Engine {
    /// Starts a container by ID, prefix or name. One that runs already is left alone, and attached to unless the caller
    /// does not stay.
    pub async fn start(&self, container: &str, options: StartOptions) -> Result<Started> {
        let wanted = container.to_owned();
        let found = self
            .blocking(move |engine| {
                let (claim, record) = engine.store().claim_container(&wanted)?;
                if engine.state_of_claimed(&record)?.is_running() {
                    return Ok((record, None));
                }
                let chain = engine.chain_on(&engine.driver(&record.driver)?, &record.diff_ids)?;
                Ok((record, Some((claim, chain))))
            })
            .await?;
        match found {
            (record, Some((claim, chain))) => self.start_claimed(record, chain, claim, options).await,
            (record, None) if options.detach => {
                let (tty, stdin_open) = (record.spec.tty, record.spec.stdin_open);
                Ok(Started { id: record.id, session: Box::new(Silence), tty, stdin_open })
            }
            (record, None) => self.attach(&record.id).await,
        }
    }

    /// Starts a container that nobody else can start or remove meanwhile.
    pub(crate) async fn start_claimed(
        &self,
        record: ContainerRecord,
        chain: Chain,
        claim: Claim,
        options: StartOptions,
    ) -> Result<Started> {
        if !options.detach {
            self.tell_of(&record, "attach");
        }
        let joined = self.join_namespaces(&record).await;
        let prepared = self.blocking(move |engine| {
            let request =
                joined.and_then(|(user, connected)| engine.prepare(&record, &chain, options, connected, user));
            Ok((request, record))
        });
        let (request, record) = prepared.await?;
        let started = match request {
            Ok((request, descriptors)) => self.options().runtime.start(request, descriptors).await,
            Err(error) => Err(error),
        };
        let (id, tty, stdin_open) = (record.id.clone(), record.spec.tty, record.spec.stdin_open);
        match started {
            Ok(session) => {
                drop(claim);
                let session = told(session, self.teller(&record), Of::Container);
                Ok(Started { id, session, tty, stdin_open })
            }
            Err(error) => {
                let failure = StartFailure { code: exit_code(&error), message: error.to_string() };
                let undone = self.blocking(move |engine| {
                    // Held until the undo is complete, so that nobody takes the bundle for that of a dead monitor.
                    let _claim = claim;
                    let directories = engine.store().directories(&record.id);
                    engine.release_networks(&directories.run);
                    undo(&directories, &failure);
                    Ok(engine.explain_refusal(error, &record.image_id))
                });
                Err(undone.await?)
            }
        }
    }

    fn prepare(
        &self,
        record: &ContainerRecord,
        chain: &Chain,
        options: StartOptions,
        connected: Connected,
        user: Option<OwnedFd>,
    ) -> Result<(StartRequest, Descriptors)> {
        let directories = self.store().directories(&record.id);
        let spec = &record.spec;
        self.store().forget_container_figure(&record.id);
        let volatility = if spec.auto_remove { Volatility::Volatile } else { Volatility::Durable };
        let joined = self.join(record)?;
        let root = self.mount_rw_mapped(chain, &record.id, volatility, user.as_ref().map(AsFd::as_fd))?;
        private_directory(&directories.run)?;
        forget_marks(&directories);
        let others = self.write_bundle(record, root.as_fd(), &directories, &joined, &connected)?;
        let place = user.is_some().then(|| self.place_of(record));
        let health = health(record, &root, Host::read(self.options().rootless)?)?;
        let log = log_target::target(record, &directories)?;
        let removal = || {
            let verb = ["rm", "-f", "-v", &record.id].map(str::to_owned);
            self.options().self_command.iter().cloned().chain(verb).collect()
        };
        let request = StartRequest {
            id: record.id.clone(),
            bundle: directories.state.clone(),
            init: spec.init.then(|| directories.state.join(INIT)),
            run_dir: directories.run,
            state_dir: directories.state,
            log,
            terminal: spec.tty,
            terminal_size: options.terminal_size,
            stdin: spec.stdin_open,
            stdin_once: spec.stdin_open && !options.detach,
            on_exit: (spec.auto_remove && options.detach).then(removal),
            die_with_client: false,
            joins_network: connected.namespace.is_some(),
            joins_user: user.is_some(),
            place,
            transient: connected.files,
            restart: spec.restart,
            health,
            events: Some(self.teller(record)),
            oci_runtime: spec.runtime.clone(),
            lenders: joined.lenders,
            shm_of: joined.shm_of,
        };
        let Connected { namespace: network, published: ports, kept, .. } = connected;
        Ok((request, Descriptors { root, mounts: others, network, user, ports, kept }))
    }
}

/// The container's health check, which runs as `exec` would run it.
fn health(record: &ContainerRecord, root: &OwnedFd, host: Host) -> Result<Option<HealthRequest>> {
    let Some((check, args)) = record.health_check() else { return Ok(None) };
    let options = ExecOptions { args, ..ExecOptions::default() };
    let process = exec_process(record, &options, root, host)?;
    Ok(Some(HealthRequest { process, times: check.times() }))
}

/// What was said about the last run: that somebody stopped it, and another policy, which the record has by now.
fn forget_marks(directories: &Directories) {
    for mark in [STOPPED, RESTART] {
        let _ = fs_err::remove_file(directories.state.join(mark));
    }
}

/// The status that `start` and `run` exit with after an error, and that the container keeps.
pub(crate) fn exit_code(error: &Error) -> i32 {
    match error.kind() {
        Kind::CommandNotFound => 127,
        Kind::NotExecutable => 126,
        _ => 128,
    }
}

/// Takes back what a failed start wrote. A container that ran before keeps the record of that run.
fn undo(directories: &Directories, failure: &StartFailure) {
    if !directories.state.join(EXIT).exists() {
        let _ = fs_err::remove_file(directories.state.join(BUNDLE));
    }
    for result in [write(&directories.state.join(FAILURE), failure), remove_directory(&directories.run)] {
        if let Err(error) = result {
            tracing::debug!(directory = %directories.state.display(), %error, "left to recovery");
        }
    }
}
