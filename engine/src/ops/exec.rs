//! `exec`: one more process in a running container.

use std::os::fd::AsFd;

use super::kill::not_running;
use super::prepare::{check_working_directory, hostname};
use crate::bundle::host::Host;
use crate::bundle::merge::{DEFAULT_PATH, clean, environment};
use crate::bundle::spec::{ProcessInput, process, with_home};
use crate::bundle::{apparmor, capabilities, random_id, user};
use crate::container::{ContainerRecord, ContainerSpec, ContainerState};
use crate::events::{Actor, Event, Teller};
use crate::ops::told::{Of, told};
use crate::runtime::{ExecRequest, Session};
use crate::{Engine, Error, Kind, Result};

/// What to execute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The argument vector.
    pub args: Vec<String>,
    /// `NAME=value` entries over the container's.
    pub env: Vec<String>,
    /// `user[:group]`; the container's when `None`.
    pub user: Option<String>,
    /// Working directory; the container's when `None`.
    pub workdir: Option<String>,
    /// A terminal.
    pub tty: bool,
    /// Connect stdin.
    pub stdin: bool,
    /// Return once the process runs.
    pub detach: bool,
    /// All capabilities.
    pub privileged: bool,
    /// First size of the terminal, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
}

impl Engine {
    /// Starts a process in a running container.
    pub async fn exec(&self, container: &str, options: ExecOptions) -> Result<Box<dyn Session>> {
        if options.args.is_empty() {
            return Err(Error::refused(Kind::InvalidInput, "no exec command specified"));
        }
        let (record, state) = self.look_up(container).await?;
        if matches!(state, ContainerState::Restarting { .. }) {
            let message = format!("container `{}` is restarting, wait until the container is running", record.id);
            return Err(Error::refused(Kind::Conflict, message));
        }
        if matches!(state, ContainerState::Paused { .. }) {
            let message = format!("container {} is paused, unpause the container before exec", record.name);
            return Err(Error::refused(Kind::Conflict, message));
        }
        let pid = state.pid().ok_or_else(|| not_running(&record.id))?;
        let command = options.args.join(" ");
        let actor = Actor::container(&record).with("execID", random_id());
        let teller = Teller { actor: actor.clone(), ..self.teller(&record) };
        let own = teller.clone();
        let request = self.blocking(move |engine| {
            let root = engine.running_root(&record, pid)?;
            // What the command cannot be started with is the command's failure, and has its exit code.
            let spec = exec_process(&record, &options, root.as_fd(), Host::read(engine.options().rootless)?)
                .map_err(|error| Error::refused(Kind::NotExecutable, error.to_string()))?;
            Ok(ExecRequest {
                run_dir: engine.store().directories(&record.id).run,
                id: record.id,
                spec,
                terminal_size: options.terminal_size,
                stdin: options.stdin && !options.detach,
                detach: options.detach,
                events: Some(teller),
            })
        });
        let request = request.await?;
        self.tell_all(
            &["exec_create", "exec_start"]
                .map(|action| Event::now("container", &format!("{action}: {command}"), actor.clone())),
        );
        Ok(told(self.options().runtime.exec(request).await?, own, Of::Exec))
    }
}

/// The OCI process of an exec.
pub(super) fn exec_process(
    record: &ContainerRecord,
    options: &ExecOptions,
    root: impl AsFd,
    host: Host,
) -> Result<oci_spec::runtime::Process> {
    let user = options.user.as_deref().unwrap_or(&record.config.user);
    let identity = user::lookup(root, user, &record.spec.group_add)?;
    let mut base = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", hostname(record))];
    if options.tty {
        base.push("TERM=xterm".into());
    }
    let mut env = environment(&environment(&base, &record.config.env, &[]), &options.env, &[]);
    with_home(&mut env, &identity);
    let wanted = options.workdir.as_deref().unwrap_or(&record.config.working_dir);
    if options.workdir.is_some() && !wanted.starts_with('/') {
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("cwd must be an absolute path, and `{}` is not", wanted.escape_debug()),
        ));
    }
    let cwd = clean(wanted);
    check_working_directory(&cwd)?;
    let spec = ContainerSpec { privileged: record.spec.privileged || options.privileged, ..(*record.spec).clone() };
    let held = capabilities::resolve(&spec, host.capabilities)?;
    let confinement = apparmor::profile(&spec, spec.privileged, host.apparmor);
    super::apparmor::ensure(confinement.as_deref())?;
    process(&ProcessInput {
        spec: &record.spec,
        args: options.args.clone(),
        env,
        cwd: &cwd,
        identity: &identity,
        capabilities: capabilities::sets(&held, identity.uid)?,
        tty: options.tty,
        apparmor: confinement,
    })
}
