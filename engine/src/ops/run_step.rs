//! One process of a build step, in the same cage as a container, in a root that becomes a layer.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_layer::beneath::NewDir;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::apparmor;
use super::foreign::explain_step;
use super::places::place_of;
use super::prepare::{working_directory, write_configuration, write_files};
use super::stubs::Stubs;
use crate::build::{RunOutput, RunStep};
use crate::bundle::host::Host;
use crate::bundle::namespaces::Donors;
use crate::bundle::spec::{BundleInput, configuration};
use crate::bundle::{random_id, user};
use crate::container::{ContainerSpec, NetworkChoice, NetworkMode, RestartPolicy, parse_network};
use crate::network::Party;
use crate::ops::networking::Connected;
use crate::runtime::{Descriptors, SessionEvent, StartRequest};
use crate::store::containers::remove_directory;
use crate::store::private_directory;
use crate::{Engine, Error, Kind, Result};

/// The host name of build steps, the same each time so that no result depends on it.
const HOSTNAME: &str = "buildkitsandbox";

/// A step's directory below the run root; it goes with this value.
#[derive(Debug)]
struct StepDirectory {
    path: PathBuf,
    // Held so that nobody sweeps it away.
    _held: File,
}

impl Drop for StepDirectory {
    fn drop(&mut self) {
        if let Err(error) = remove_directory(&self.path) {
            tracing::debug!(%error, "left to recovery");
        }
    }
}

impl Engine {
    /// Runs a process in `root`, a detached writable mount, and returns its exit status. The mount points and files that
    /// Mica puts into the root for it are gone afterwards. Dropping the future kills the process.
    pub async fn run_step(&self, root: OwnedFd, step: RunStep, output: &dyn RunOutput) -> Result<i32> {
        let id = random_id();
        let held = {
            let id = id.clone();
            self.blocking(move |engine| engine.hold_step(&id)).await?
        };
        let spec = step_spec(&step)?;
        let connected = match spec.network {
            NetworkMode::Networks => {
                let party = Party { id: id.clone(), name: HOSTNAME.to_owned(), run_dir: held.path.clone() };
                self.attach_to(party, &spec, Vec::new(), None).await?
            }
            _ => Connected::default(),
        };
        let prepared = self.blocking(move |engine| engine.prepare_step(&id, held, root, &step, &spec, connected));
        let (directory, stubs, request, descriptors) = prepared.await?;
        let run_dir = request.run_dir.clone();
        let code = match self.options().runtime.start(request, descriptors).await {
            Ok(mut session) => {
                // Nobody feeds a step.
                drop(session.take_input());
                let mut code = None;
                while let Some(event) = session.next().await? {
                    match event {
                        SessionEvent::Stdout(bytes) => output.stdout(&bytes),
                        SessionEvent::Stderr(bytes) => output.stderr(&bytes),
                        SessionEvent::Exited(status) => code = Some(status),
                    }
                }
                self.options().runtime.wait(&run_dir).await?;
                code.ok_or_else(|| Error::refused(Kind::Internal, "the monitor of a build step died"))
            }
            Err(error) => Err(explain_step(error)),
        };
        self.blocking(move |engine| {
            engine.release_networks(&directory.path);
            drop(directory);
            stubs.remove()
        })
        .await?;
        code
    }

    fn hold_step(&self, id: &str) -> Result<StepDirectory> {
        let run_dir = self.store().directories(id).run;
        private_directory(&run_dir)?;
        let held = try_hold(&run_dir)?
            .ok_or_else(|| Error::refused(Kind::Unavailable, "the directory of a build step was swept away"))?;
        Ok(StepDirectory { path: run_dir, _held: held })
    }

    fn prepare_step(
        &self,
        id: &str,
        directory: StepDirectory,
        root: OwnedFd,
        step: &RunStep,
        spec: &ContainerSpec,
        connected: Connected,
    ) -> Result<(StepDirectory, Stubs, StartRequest, Descriptors)> {
        let run_dir = directory.path.clone();
        let state_dir = run_dir.join("step");
        private_directory(&state_dir)?;
        write_files(&state_dir, HOSTNAME, spec, &connected.surroundings)?;
        let identity = user::lookup(&root, &step.user, &[])?;
        let cwd = working_directory(root.as_fd(), &step.cwd, NewDir::default())?;
        let built = configuration(&BundleInput {
            id,
            root: &run_dir.join("rootfs"),
            spec,
            args: step.args.clone(),
            env: &step.env,
            cwd: &cwd,
            identity: &identity,
            hostname: HOSTNAME,
            files: &state_dir,
            points: &[],
            devices: &[],
            donors: Donors::default(),
            shm: None,
            init: None,
            host: Host::read(self.options().rootless)?,
            ids: None,
        })?;
        apparmor::ensure(built.process().as_ref().and_then(|process| process.apparmor_profile().as_deref()))?;
        write_configuration(&state_dir, &built)?;
        // Only the root's own paths: what lies below another mount appears in that mount.
        let mounts = built.mounts().iter().flatten();
        let mut targets: Vec<(PathBuf, bool)> = Vec::new();
        for mount in mounts {
            targets.push((place_of(root.as_fd(), mount.destination())?, mount.typ().as_deref() == Some("bind")));
        }
        let outer: HashSet<&Path> = targets.iter().map(|(target, _)| target.as_path()).collect();
        let own = targets.iter().filter(|(target, _)| !target.ancestors().skip(1).any(|above| outer.contains(above)));
        let stubs = Stubs::make(&root, own.map(|(target, file)| (target.as_path(), *file)))?;
        let request = StartRequest {
            id: id.to_owned(),
            bundle: state_dir.clone(),
            run_dir,
            state_dir,
            log: None,
            terminal: false,
            terminal_size: None,
            stdin: false,
            stdin_once: false,
            on_exit: None,
            die_with_client: true,
            joins_network: connected.namespace.is_some(),
            joins_user: false,
            place: None,
            transient: connected.files,
            restart: RestartPolicy::No,
            health: None,
            events: None,
            oci_runtime: None,
            init: None,
            lenders: Vec::new(),
            shm_of: None,
        };
        Ok((
            directory,
            stubs,
            request,
            Descriptors { network: connected.namespace, kept: connected.kept, ..root.into() },
        ))
    }
}

/// What a step asks of networks, as a container would.
fn step_spec(step: &RunStep) -> Result<ContainerSpec> {
    let (network, networks) = match parse_network(&step.network)? {
        NetworkChoice::Mode(mode) => (mode, Vec::new()),
        NetworkChoice::Endpoint(endpoint) => (NetworkMode::Networks, vec![endpoint]),
    };
    if let NetworkMode::Container(_) = network {
        return Err(Error::refused(Kind::InvalidInput, "a build step cannot share the network of a container"));
    }
    Ok(ContainerSpec { network, networks, add_hosts: step.add_hosts.clone(), ..ContainerSpec::default() })
}

/// Holds a directory of hot state against being swept away; `None` when someone else does, or when it is gone.
pub(crate) fn try_hold(run_dir: &Path) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(run_dir, flags, Mode::empty()) {
        Ok(directory) => File::from(directory),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::io("open", run_dir)(errno.into())),
    };
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(run_dir.exists().then_some(directory)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(Error::io("lock", run_dir)(errno.into())),
    }
}
