//! `start`: a created or exited container gets its root mounted, its bundle written and its monitor started.

use std::os::fd::OwnedFd;

use crate::container::{ContainerRecord, LogDriver};
use crate::runtime::{LogTarget, Session, StartRequest};
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

impl Engine {
    /// Starts a container by ID, prefix or name. One that runs already is left alone and attached to.
    pub async fn start(&self, container: &str, options: StartOptions) -> Result<Started> {
        let wanted = container.to_owned();
        let found = self
            .blocking(move |engine| {
                let record = engine.store().find_container(&wanted)?;
                let claim = engine.store().claim(&record.id)?;
                if engine.state_of_claimed(&record)?.is_running() {
                    return Ok((record, None));
                }
                let chain = engine.chain_on(&engine.driver(&record.driver)?, &record.diff_ids)?;
                Ok((record, Some((claim, chain))))
            })
            .await?;
        match found {
            (record, Some((claim, chain))) => self.start_claimed(record, chain, claim, options).await,
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
        let prepared = self.blocking(move |engine| {
            let request = engine.prepare(&record, &chain, options);
            Ok((request, record))
        });
        let (request, record) = prepared.await?;
        let started = match request {
            Ok((request, root)) => self.options().runtime.start(request, root).await,
            Err(error) => Err(error),
        };
        let (id, tty, stdin_open) = (record.id.clone(), record.spec.tty, record.spec.stdin_open);
        match started {
            Ok(session) => {
                drop(claim);
                Ok(Started { id, session, tty, stdin_open })
            }
            Err(error) => {
                let failure = StartFailure { code: exit_code(&error), message: error.to_string() };
                self.blocking(move |engine| {
                    // Held until the undo is complete, so that nobody takes the bundle for that of a dead monitor.
                    let _claim = claim;
                    undo(&engine.store().directories(&record.id), &failure);
                    Ok(())
                })
                .await?;
                Err(error)
            }
        }
    }

    fn prepare(
        &self,
        record: &ContainerRecord,
        chain: &Chain,
        options: StartOptions,
    ) -> Result<(StartRequest, OwnedFd)> {
        let directories = self.store().directories(&record.id);
        let spec = &record.spec;
        let volatility = if spec.auto_remove { Volatility::Volatile } else { Volatility::Durable };
        let root = self.mount_rw(chain, &record.id, volatility)?;
        private_directory(&directories.run)?;
        self.write_bundle(record, std::os::fd::AsFd::as_fd(&root), &directories)?;
        let log = match spec.log.driver {
            LogDriver::None => None,
            LogDriver::JsonFile => Some(LogTarget {
                path: directories.log(&record.id),
                max_size: spec.log.max_size,
                max_files: spec.log.max_files.unwrap_or(1),
            }),
        };
        let removal = || {
            let verb = ["rm", "-f", "-v", &record.id].map(str::to_owned);
            self.options().self_command.iter().cloned().chain(verb).collect()
        };
        let request = StartRequest {
            id: record.id.clone(),
            bundle: directories.state.clone(),
            run_dir: directories.run,
            state_dir: directories.state,
            log,
            terminal: spec.tty,
            terminal_size: options.terminal_size,
            stdin: spec.stdin_open,
            stdin_once: spec.stdin_open && !options.detach,
            on_exit: (spec.auto_remove && options.detach).then(removal),
            die_with_client: false,
            oci_runtime: spec.runtime.clone(),
        };
        Ok((request, root))
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
