//! The life of a container, from the request to the exit record.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ChildStdio};
use std::time::Instant;

use mica_engine::Kind;
use mica_engine::runtime::{Descriptors, ExitRecord, NAME, NETWORK_LINK, RunState, StartRequest, USER_LINK};
use mica_runtime::frame::Frame;
use mica_runtime::request::RuntimeRecord;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use oci_spec::runtime::Spec;

use crate::cgroup::Cgroups;
use crate::console::{self, ConsoleSocket, bind_anywhere};
use crate::failure::{Failure, OrFail};
use crate::health::Watch;
use crate::log::Log;
use crate::mounts::{self, Outside, Place};
use crate::oci::{self, Bundle, OciRuntime, Stdio};
use crate::record;
use crate::relay::{Relay, Rules, block_signals};
use crate::restart::Restarts;
use crate::stdio::{self, Ours};

/// A container whose program runs.
struct Running<'a> {
    runtime: Box<dyn OciRuntime + 'a>,
    pid: i32,
    cgroups: Cgroups,
    started_at: String,
    begun: Instant,
}

/// Serves one request to its end.
pub fn run(request: StartRequest, cache: Option<PathBuf>, came: Came, socket: UnixStream) -> Result<(), Failure> {
    let refused = |failure: Failure, mut socket: &UnixStream| {
        let frame = Frame::Failed { kind: failure.kind, message: failure.message.clone() };
        socket.write_all(&frame.to_bytes()).ok();
        Err(failure)
    };
    let mut came = match sorted(&request, came) {
        Ok(came) => came,
        Err(failure) => return refused(failure, &socket),
    };
    let (lock, outside) = match prepare(&request, &mut came) {
        Ok(prepared) => prepared,
        Err(failure) => return refused(failure, &socket),
    };
    // They are attached; a descriptor would keep them when the mount namespace has gone.
    drop((came.root, came.mounts));
    let held = Held { _network: came.network, _user: came.user, _kept: came.kept, _lock: lock };
    let launcher = Launcher { request: &request, cache };
    let begun = launcher.equip().and_then(|mut relay| {
        relay.hold_ports(came.ports);
        let running = launcher.launch(&mut relay, 0)?;
        Ok((relay, running))
    });
    match begun {
        Ok((relay, running)) => watch(&launcher, relay, running, outside, held, socket),
        Err(failure) => {
            clean(&request, outside).ok();
            drop(held);
            refused(failure, &socket)
        }
    }
}

/// What came with a request.
pub struct Came {
    /// The names of the mounts beside the root.
    pub mounts: Vec<String>,
    /// How many descriptors hold ports.
    pub ports: usize,
    pub descriptors: Vec<OwnedFd>,
}

/// What a monitor holds for its whole life. Whoever has waited for the lock may want the addresses and the ports that were
/// published, so the lock goes last: fields are dropped in their order, and what is left to the end of the process is closed by
/// number. The ports are the relay's.
struct Held {
    _network: Option<OwnedFd>,
    _user: Option<OwnedFd>,
    _kept: Vec<OwnedFd>,
    _lock: OwnedFd,
}

/// What came along, by its use.
fn sorted(request: &StartRequest, Came { mounts: names, ports, descriptors }: Came) -> Result<Descriptors, Failure> {
    let missing = || Failure::new(Kind::InvalidInput, "the request came without a root file system");
    let mut descriptors = descriptors.into_iter();
    let root = descriptors.next().ok_or_else(missing)?;
    let network = if request.joins_network { descriptors.next() } else { None };
    let user = if request.joins_user { descriptors.next() } else { None };
    let mounts = names.into_iter().zip(descriptors.by_ref()).collect();
    let ports = descriptors.by_ref().take(ports).collect();
    Ok(Descriptors { root, mounts, network, user, ports, kept: descriptors.collect() })
}

fn prepare(request: &StartRequest, came: &mut Descriptors) -> Result<(OwnedFd, Outside), Failure> {
    let lock = record::lock(&request.run_dir)?;
    // Whatever a killed monitor left under this name is nobody's: the lock is ours.
    for directory in ["libcontainer", "oci"] {
        fs_err::remove_dir_all(request.run_dir.join(directory)).ok();
    }
    for file in ["state.json", "attach.sock", "paused", NAME] {
        fs_err::remove_file(request.run_dir.join(file)).ok();
    }
    if let Some(path) = &request.init {
        write_init(path)?;
    }
    if let (Some(path), Some(_)) = (&request.init, &came.user) {
        // Root of a user namespace cannot pass through the store to it.
        came.mounts.push(mounts::copy_of(path)?);
    }
    let place = match &request.place {
        Some(path) => Place { path, fresh: true },
        None => Place { path: &request.run_dir, fresh: false },
    };
    let outside = mounts::enter(place, &came.root, &came.mounts, request.shm_of)?;
    // libcontainer opens them when it is in the user namespace, from where it reaches its own descriptors alone; another runtime
    // has none of them.
    let owner = match (&request.oci_runtime, &came.user) {
        (None, Some(_)) => "self".to_owned(),
        _ => std::process::id().to_string(),
    };
    for (name, namespace) in [(NETWORK_LINK, &came.network), (USER_LINK, &came.user)] {
        let Some(namespace) = namespace else { continue };
        let link = place.path.join(name);
        fs_err::remove_file(&link).ok();
        // A bundle names a namespace by a path, and this one has no name but the descriptor of it here.
        let target = format!("/proc/{owner}/fd/{}", namespace.as_raw_fd());
        fs_err::os::unix::fs::symlink(target, &link).or_fail(|| format!("cannot make `{}`", link.display()))?;
    }
    Ok((lock, outside))
}

/// What makes one process after the other.
struct Launcher<'a> {
    request: &'a StartRequest,
    cache: Option<PathBuf>,
}

impl<'a> Launcher<'a> {
    fn context(&self) -> String {
        format!("cannot prepare container `{}`", self.request.id)
    }

    /// What all processes of the container share.
    fn equip(&self) -> Result<Relay, Failure> {
        let request = self.request;
        let context = || self.context();
        let log =
            request.log.clone().map(Log::open).transpose().or_fail(|| "cannot open the container's log".into())?;
        let listener = bind_anywhere(&request.run_dir.join("attach.sock")).or_fail(context)?;
        listener.set_nonblocking(true).or_fail(context)?;
        let cache = self.cache.clone();
        record::write(
            &request.run_dir.join("runtime.json"),
            &RuntimeRecord { bundle: request.bundle.clone(), oci_runtime: request.oci_runtime.clone(), cache },
        )?;
        let signals = block_signals().or_fail(context)?;
        let rules = Rules { stdin_once: request.stdin_once, die_with_client: request.die_with_client };
        Ok(Relay::new(signals, rules).with(log, listener))
    }

    /// Makes a process and gives it to the relay.
    fn launch(&'a self, relay: &mut Relay, restarts: u32) -> Result<Running<'a>, Failure> {
        let request = self.request;
        let bundle =
            Bundle { id: &request.id, path: &request.bundle, run_dir: &request.run_dir, cache: self.cache.as_deref() };
        let spec = spec(request)?;
        let owner = spec.process().as_ref().map_or(0, |process| stdio::owner(&spec, process.user().uid()));
        let groups = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
        let mut runtime = oci::runtime(bundle, request.oci_runtime.as_deref());
        let made = self.create(runtime.as_mut(), owner, relay.terminal_size(), groups.as_deref());
        let (pid, streams) = made.inspect_err(|_| runtime.delete())?;
        let cgroups = Cgroups::of(pid);
        if let Some(gone) = request.lenders.iter().find(|one| mica_runtime::start_time(one.pid) != Some(one.pid_start))
        {
            // Its number may have been somebody else's when the namespace was joined.
            end(pid);
            cgroups.remove();
            runtime.delete();
            let message = format!("process {} of the other container is gone", gone.pid);
            return Err(Failure::new(Kind::Conflict, message));
        }
        let started_at = record::now();
        let mut start = || {
            let pid_start = mica_runtime::start_time(pid)
                .ok_or_else(|| Failure::new(Kind::Internal, "the container's first process is gone"))?;
            let monitor_pid = std::process::id() as i32;
            let started_at = started_at.clone();
            let state = RunState { monitor_pid, pid, pid_start, started_at, restarts, restarting: None };
            // Before the program runs: from its first instruction on, whoever finds this file can end it.
            record::write(&request.run_dir.join("state.json"), &state)?;
            fs_err::remove_file(request.state_dir.join("exit.json")).ok();
            runtime.start()
        };
        if let Err(failure) = start() {
            end(pid);
            cgroups.remove();
            runtime.delete();
            return Err(failure);
        }
        // That the checks cannot be recorded, on a full disk, must not end a container that runs.
        relay.begin(pid, streams, Watch::begin(request).unwrap_or_default());
        if let Some(teller) = &request.events {
            if restarts == 0 {
                teller.tell_start();
            } else {
                teller.tell("start", &[]);
            }
        }
        Ok(Running { runtime, pid, cgroups, started_at, begun: Instant::now() })
    }

    /// The container up to the point where only its program is missing.
    fn create(
        &self,
        runtime: &mut dyn OciRuntime,
        owner: u32,
        size: Option<(u16, u16)>,
        groups: Option<&Path>,
    ) -> Result<(i32, Ours), Failure> {
        let request = self.request;
        let context = || self.context();
        let failed = |failure| {
            // Half a container: nobody has told its process id, but its control groups are known and hold whatever there is.
            if let Some(path) = groups.and_then(Path::to_str) {
                Cgroups::at(path).remove();
            }
            while waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive)
            {
            }
            failure
        };
        if !request.terminal {
            let (theirs, ours) = stdio::pipes(request.stdin, owner).or_fail(context)?;
            return Ok((runtime.create(Stdio::Pipes(theirs)).map_err(failed)?, ours));
        }
        let socket = ConsoleSocket::bind(request.run_dir.join("console.sock"))?;
        let pid = runtime.create(Stdio::Console(socket.path())).map_err(failed)?;
        let streams = socket
            .receive()
            .and_then(|master| console::streams(master, owner, size.or(request.terminal_size)).or_fail(context))
            .inspect_err(|_| end(pid))?;
        Ok((pid, streams))
    }
}

fn watch<'a>(
    launcher: &'a Launcher<'a>,
    mut relay: Relay,
    mut running: Running<'a>,
    outside: Outside,
    held: Held,
    socket: UnixStream,
) -> Result<(), Failure> {
    let request = launcher.request;
    let mut restarts = Restarts::new(request.restart, &request.state_dir);
    relay.admit_first(socket).or_fail(|| "cannot watch the container".into())?;
    let exit = loop {
        let exit = see_through(request, &mut relay, &mut running, restarts.count());
        let Some(pause) = Some(running.begun.elapsed())
            .filter(|_| !relay.is_told_to_end())
            .and_then(|ran| restarts.after(exit.code, ran))
        else {
            break exit;
        };
        let again = announce(request, &exit, restarts.count()).and_then(|()| {
            relay.tell(exit.code);
            relay.pause(pause, || restarts.is_stopped()).or_fail(|| "cannot wait for the next start".into())
        });
        if !again.unwrap_or(false) {
            break ExitRecord { restarts: restarts.count(), ..exit };
        }
        match launcher.launch(&mut relay, restarts.count()) {
            Ok(next) => running = next,
            Err(failure) => {
                let error = Some(format!("cannot start it again: {}", failure.message));
                break ExitRecord { code: status_of(&failure), error, restarts: restarts.count(), ..exit };
            }
        }
    };
    // Whoever waits for the end hears of it before he tells what he made of it.
    if let Some(teller) = &request.events {
        teller.tell_end();
    }
    let recorded = record::write(&request.state_dir.join("exit.json"), &exit);
    let cleaned = clean(request, outside);
    relay.hold_ports(Vec::new());
    drop(held);
    if let Some((program, arguments)) = request.on_exit.as_deref().and_then(<[String]>::split_first) {
        let mut command = Command::new(program);
        command.args(arguments).stdin(ChildStdio::null()).stdout(ChildStdio::null()).stderr(ChildStdio::null());
        // It outlives the monitor, whose last act it is; its own record is in the store.
        command.spawn().ok();
    }
    relay.tell(exit.code);
    relay.finish();
    recorded.and(cleaned)
}

/// Relays until the process has ended, and clears away what it leaves.
fn see_through(request: &StartRequest, relay: &mut Relay, running: &mut Running<'_>, restarts: u32) -> ExitRecord {
    let code = relay.run().or_fail(|| "cannot watch the container".into());
    let error = match &code {
        Ok(_) => relay.log_error().map(|error| format!("the log is incomplete: {error}")),
        Err(failure) => {
            end(running.pid);
            Some(failure.message.clone())
        }
    };
    let code = code.unwrap_or(137);
    let oom_killed = code == 137 && running.cgroups.oom_killed();
    running.cgroups.remove();
    running.runtime.delete();
    fs_err::remove_file(request.run_dir.join("paused")).ok();
    if let Some(teller) = &request.events {
        if oom_killed {
            teller.tell("oom", &[]);
        }
        let lasted = running.begun.elapsed().as_secs().to_string();
        teller.tell("die", &[("exitCode", code.to_string()), ("execDuration", lasted)]);
    }
    let started_at = running.started_at.clone();
    ExitRecord { code, oom_killed, error, started_at, finished_at: record::now(), restarts }
}

/// Says that the container has no process and will have one.
fn announce(request: &StartRequest, ended: &ExitRecord, restarts: u32) -> Result<(), Failure> {
    let state = RunState {
        monitor_pid: std::process::id() as i32,
        pid: 0,
        pid_start: 0,
        started_at: ended.started_at.clone(),
        restarts,
        restarting: Some(ended.clone()),
    };
    record::write(&request.run_dir.join("state.json"), &state)
}

/// The status of a container whose program could not be started, as `start` has it.
fn status_of(failure: &Failure) -> i32 {
    match failure.kind {
        Kind::CommandNotFound => 127,
        Kind::NotExecutable => 126,
        _ => 128,
    }
}

/// The small init, a file of its own for each container: whoever manages to write to it harms nobody else.
fn write_init(path: &Path) -> Result<(), Failure> {
    const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));
    fs_err::remove_file(path).ok();
    let context = || format!("cannot write the init `{}`", path.display());
    fs_err::write(path, INIT).or_fail(context)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o555)).or_fail(context)
}

/// Removes everything but the lock file, whose existence means nothing.
fn clean(request: &StartRequest, outside: Outside) -> Result<(), Failure> {
    let left = outside.leave();
    for file in ["state.json", "runtime.json", "attach.sock", NETWORK_LINK, NAME] {
        fs_err::remove_file(request.run_dir.join(file)).ok();
    }
    for file in &request.transient {
        fs_err::remove_file(file).ok();
    }
    left
}

/// Kills and collects a process that did not get to its program.
fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    waitpid(Pid::from_raw(pid), None).ok();
}

fn spec(request: &StartRequest) -> Result<Spec, Failure> {
    let config = request.bundle.join("config.json");
    Spec::load(&config).or_fail(|| format!("cannot read `{}`", config.display()))
}
