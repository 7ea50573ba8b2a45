//! The life of a further process in a running container, from the request to its status.

use std::io::Write;
use std::os::unix::net::UnixStream;

use mica_engine::Kind;
use mica_engine::runtime::{ExecRequest, RunState};
use mica_runtime::frame::Frame;
use mica_runtime::request::RuntimeRecord;
use nix::sched::{CloneFlags, setns};
use nix::sys::signalfd::SignalFd;
use oci_spec::runtime::{BoxBuilder, Spec};
use rustix::fs::{Mode, OFlags};

use crate::console::{self, ConsoleSocket};
use crate::enter;
use crate::external::External;
use crate::failure::{Failure, OrFail};
use crate::oci::{Bundle, Stdio};
use crate::record;
use crate::relay::{Relay, Rules, block_signals};
use crate::stdio::{self, Ours};

/// Serves one request to its end.
pub fn run(request: ExecRequest, mut socket: UnixStream) -> Result<(), Failure> {
    match launch(&request) {
        Ok((pid, streams, signals)) => {
            // The process ends with its container, not with its client: a build tool may close its terminal and go.
            let rules = Rules { stdin_once: true, die_with_client: false };
            let context = || "cannot watch the process".into();
            let mut relay = Relay::new(signals, rules);
            relay.begin(pid, streams, None);
            relay.admit_first(socket).or_fail(context)?;
            let code = relay.run().or_fail(context)?;
            if let Some(teller) = &request.events {
                teller.tell("exec_die", &[("exitCode", code.to_string())]);
            }
            relay.tell(code);
            relay.finish();
            Ok(())
        }
        Err(failure) => {
            let frame = Frame::Failed { kind: failure.kind, message: failure.message.clone() };
            socket.write_all(&frame.to_bytes()).ok();
            Err(failure)
        }
    }
}

/// Makes the process.
pub fn launch(request: &ExecRequest) -> Result<(i32, Ours, SignalFd), Failure> {
    let not_running = |_| Failure::new(Kind::Conflict, format!("container `{}` is not running", request.id));
    let state: RunState = record::read(&request.run_dir.join("state.json")).map_err(not_running)?;
    let runtime: RuntimeRecord = record::read(&request.run_dir.join("runtime.json")).map_err(not_running)?;
    let signals = block_signals().or_fail(|| "cannot watch for signals".into())?;
    let (pid, streams) = match &runtime.oci_runtime {
        None => enter::enter(request, &state, &runtime)?,
        Some(program) => external(request, &state, &runtime, program)?,
    };
    Ok((pid, streams, signals))
}

fn external(
    request: &ExecRequest,
    state: &RunState,
    runtime: &RuntimeRecord,
    program: &str,
) -> Result<(i32, Ours), Failure> {
    let context = || format!("cannot run a command in container `{}`", request.id);
    let bundle = Bundle { id: &request.id, path: &runtime.bundle, run_dir: &request.run_dir, cache: None };
    let container = External::new(bundle, program);
    let name = format!("exec-{}", std::process::id());
    let file = request.run_dir.join(format!("{name}.json"));
    let mut process = request.spec.clone();
    if let Some((rows, columns)) = request.terminal_size {
        let size = BoxBuilder::default().height(rows).width(columns).build();
        process.set_console_size(Some(size.or_fail(context)?));
    }
    record::write(&file, &process)?;
    let spec = Spec::load(runtime.bundle.join("config.json")).or_fail(context)?;
    if !spec.root().as_ref().is_some_and(|root| root.path().exists()) {
        // runc begins in the container's root directory, which is there for the container's own monitor alone.
        let path = format!("/proc/{}/ns/mnt", state.monitor_pid);
        let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).or_fail(context)?;
        setns(namespace, CloneFlags::CLONE_NEWNS).or_fail(context)?;
    }
    let owner = stdio::owner(&spec, request.spec.user().uid());
    let run = || {
        if request.spec.terminal().unwrap_or(false) {
            let socket = ConsoleSocket::bind(request.run_dir.join(format!("{name}.sock")))?;
            let pid = container.exec(&file, Stdio::Console(socket.path()))?;
            Ok((pid, console::streams(socket.receive()?, owner, None).or_fail(context)?))
        } else {
            let (theirs, ours) = stdio::pipes(request.stdin, owner).or_fail(context)?;
            Ok((container.exec(&file, Stdio::Pipes(theirs))?, ours))
        }
    };
    let result = run();
    fs_err::remove_file(&file).ok();
    result
}
