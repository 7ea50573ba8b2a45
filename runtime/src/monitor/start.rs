//! The life of a container, from the request to the exit record.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ChildStdio};

use mica_engine::Kind;
use mica_engine::runtime::{ExitRecord, RunState, StartRequest};
use mica_runtime::frame::Frame;
use mica_runtime::request::RuntimeRecord;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use oci_spec::runtime::Spec;

use crate::cgroup::Cgroups;
use crate::console::{self, ConsoleSocket, bind_anywhere};
use crate::failure::{Failure, OrFail};
use crate::log::Log;
use crate::mounts::{self, Outside};
use crate::oci::{self, Bundle, OciRuntime, Stdio};
use crate::record;
use crate::relay::{Relay, Rules, block_signals};
use crate::stdio::{self, Ours};

/// A container whose program runs.
struct Running {
    pid: i32,
    cgroups: Cgroups,
    started_at: String,
    streams: Ours,
    listener: UnixListener,
    log: Option<Log>,
    signals: SignalFd,
}

/// Serves one request to its end.
pub fn run(
    request: StartRequest,
    cache: Option<PathBuf>,
    root: Option<OwnedFd>,
    socket: UnixStream,
) -> Result<(), Failure> {
    let refused = |failure: Failure, mut socket: &UnixStream| {
        let frame = Frame::Failed { kind: failure.kind, message: failure.message.clone() };
        socket.write_all(&frame.to_bytes()).ok();
        Err(failure)
    };
    let (lock, outside) = match prepare(&request, root) {
        Ok(prepared) => prepared,
        Err(failure) => return refused(failure, &socket),
    };
    let bundle = Bundle { id: &request.id, path: &request.bundle, run_dir: &request.run_dir, cache: cache.as_deref() };
    let mut runtime = oci::runtime(bundle, request.oci_runtime.as_deref());
    match launch(&request, cache.clone(), runtime.as_mut()) {
        Ok(running) => watch(&request, running, runtime.as_mut(), outside, lock, socket),
        Err(failure) => {
            clean(&request, runtime.as_mut(), outside).ok();
            drop(lock);
            refused(failure, &socket)
        }
    }
}

fn prepare(request: &StartRequest, root: Option<OwnedFd>) -> Result<(OwnedFd, Outside), Failure> {
    let root = root.ok_or_else(|| Failure::new(Kind::InvalidInput, "the request came without a root file system"))?;
    let lock = record::lock(&request.run_dir)?;
    // Whatever a killed monitor left under this name is nobody's: the lock is ours.
    for directory in ["libcontainer", "oci"] {
        fs_err::remove_dir_all(request.run_dir.join(directory)).ok();
    }
    for file in ["state.json", "attach.sock"] {
        fs_err::remove_file(request.run_dir.join(file)).ok();
    }
    let outside = mounts::enter(&request.run_dir, root)?;
    Ok((lock, outside))
}

fn launch(request: &StartRequest, cache: Option<PathBuf>, runtime: &mut dyn OciRuntime) -> Result<Running, Failure> {
    let context = || format!("cannot prepare container `{}`", request.id);
    let spec = spec(request)?;
    let owner = spec.process().as_ref().map_or(0, |process| process.user().uid());
    let groups = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    let failed = |failure| {
        // Half a container: nobody has told its process id, but its control groups are known and hold whatever there is.
        if let Some(path) = groups.as_deref().and_then(Path::to_str) {
            Cgroups::at(path).remove();
        }
        while waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
        failure
    };
    let log = request.log.clone().map(Log::open).transpose().or_fail(|| "cannot open the container's log".into())?;
    let listener = bind_anywhere(&request.run_dir.join("attach.sock")).or_fail(context)?;
    listener.set_nonblocking(true).or_fail(context)?;
    record::write(
        &request.run_dir.join("runtime.json"),
        &RuntimeRecord { bundle: request.bundle.clone(), oci_runtime: request.oci_runtime.clone(), cache },
    )?;
    let signals = block_signals().or_fail(context)?;
    let (pid, streams) = if request.terminal {
        let socket = ConsoleSocket::bind(request.run_dir.join("console.sock"))?;
        let pid = runtime.create(Stdio::Console(socket.path())).map_err(failed)?;
        let streams = socket
            .receive()
            .and_then(|master| console::streams(master, owner, request.terminal_size).or_fail(context))
            .inspect_err(|_| end(pid))?;
        (pid, streams)
    } else {
        let (theirs, ours) = stdio::pipes(request.stdin, owner).or_fail(context)?;
        (runtime.create(Stdio::Pipes(theirs)).map_err(failed)?, ours)
    };
    let cgroups = Cgroups::of(pid);
    let started_at = record::now();
    let mut start = || {
        let pid_start = mica_runtime::start_time(pid)
            .ok_or_else(|| Failure::new(Kind::Internal, "the container's first process is gone"))?;
        let monitor_pid = std::process::id() as i32;
        let state = RunState { monitor_pid, pid, pid_start, started_at: started_at.clone() };
        // Before the program runs: from its first instruction on, whoever finds this file can end it.
        record::write(&request.run_dir.join("state.json"), &state)?;
        fs_err::remove_file(request.state_dir.join("exit.json")).ok();
        runtime.start()
    };
    if let Err(failure) = start() {
        end(pid);
        cgroups.remove();
        return Err(failure);
    }
    Ok(Running { pid, cgroups, started_at, streams, listener, log, signals })
}

fn watch(
    request: &StartRequest,
    running: Running,
    runtime: &mut dyn OciRuntime,
    outside: Outside,
    lock: OwnedFd,
    socket: UnixStream,
) -> Result<(), Failure> {
    let Running { pid, cgroups, started_at, streams, listener, log, signals } = running;
    let rules = Rules { stdin_once: request.stdin_once, die_with_client: request.die_with_client };
    let mut relay = Relay::new(pid, signals, streams, socket, rules)
        .or_fail(|| "cannot watch the container".into())?
        .with(log, listener);
    let code = relay.run().or_fail(|| "cannot watch the container".into());
    let error = match &code {
        Ok(_) => relay.log_error().map(|error| format!("the log is incomplete: {error}")),
        Err(failure) => {
            end(pid);
            Some(failure.message.clone())
        }
    };
    let code = code.unwrap_or(137);
    let oom_killed = code == 137 && cgroups.oom_killed();
    cgroups.remove();
    let exit = ExitRecord { code, oom_killed, error, started_at, finished_at: record::now() };
    let recorded = record::write(&request.state_dir.join("exit.json"), &exit);
    let cleaned = clean(request, runtime, outside);
    drop(lock);
    if let Some((program, arguments)) = request.on_exit.as_deref().and_then(<[String]>::split_first) {
        let mut command = Command::new(program);
        command.args(arguments).stdin(ChildStdio::null()).stdout(ChildStdio::null()).stderr(ChildStdio::null());
        // It outlives the monitor, whose last act it is; its own record is in the store.
        command.spawn().ok();
    }
    relay.finish(code);
    recorded.and(cleaned)
}

/// Removes everything but the lock file, whose existence means nothing.
fn clean(request: &StartRequest, runtime: &mut dyn OciRuntime, outside: Outside) -> Result<(), Failure> {
    runtime.delete();
    let left = outside.leave();
    for file in ["state.json", "runtime.json", "attach.sock"] {
        fs_err::remove_file(request.run_dir.join(file)).ok();
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
