//! The child that makes one health check: it enters the container, listens to the command, and reports to the monitor.
//!
//! It is a fork of the monitor, because entering a container changes the process that does it, and because the monitor
//! waits for nobody. It dies with the monitor, and the command with it.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use mica_engine::container::{HealthResult, OUTPUT_LIMIT};
use mica_engine::runtime::ExecRequest;
use nix::sys::signal::kill;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use crate::stdio::{Ours, nonblocking};
use crate::{exec, record};

/// How long after the command's end a silent pipe is waited for, which somebody else may hold.
const DRAIN_GRACE: Duration = Duration::from_millis(100);

/// Begins a check. The report is one JSON object, a [`HealthResult`], and then the end.
#[expect(unsafe_code, reason = "fork is unsafe because of threads, and there are none")]
pub fn start(request: &ExecRequest, timeout: Duration) -> std::io::Result<(Pid, OwnedFd)> {
    let (report, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    nonblocking(&report)?;
    // SAFETY: this process has one thread, so no lock can be held by a thread that does not exist in the child, and the
    // child may allocate. It never returns from here.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok((child, report)),
        ForkResult::Child => {
            let begun = record::now();
            if separate(&theirs).is_ok() {
                let mut result = check(request, timeout);
                result.start = begun;
                let text = serde_json::to_vec(&result).unwrap_or_default();
                // The report is shorter than a pipe.
                std::io::stdout().write_all(&text).ok();
                std::io::stdout().flush().ok();
            }
            // SAFETY: ends the process at once; destructors and exit hooks are the monitor's business.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Keeps nothing of the monitor's but the report: a copy of a client's socket or of the container's lock would hold what
/// the monitor lets go.
#[expect(unsafe_code, reason = "closing descriptors that nothing owns is unsafe in every library")]
fn separate(report: &OwnedFd) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    rustix::stdio::dup2_stdout(report)?;
    // SAFETY: the objects that own these descriptors are the monitor's; this process ends without dropping or using them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn check(request: &ExecRequest, timeout: Duration) -> HealthResult {
    let until = Instant::now() + timeout;
    let (exit_code, output) = match exec::launch(request) {
        Ok((pid, streams, signals)) => attend(pid, streams, &signals, until),
        Err(failure) => (Some(-1), failure.message.into_bytes()),
    };
    let mut text = String::from_utf8_lossy(output.get(..OUTPUT_LIMIT).unwrap_or(&output)).into_owned();
    if output.len() > OUTPUT_LIMIT {
        text.push_str("...");
    }
    let output = match exit_code {
        Some(_) => text,
        None => format!("Health check exceeded timeout ({}): {text}", spelled(timeout)),
    };
    HealthResult { start: String::new(), end: record::now(), exit_code: exit_code.unwrap_or(-1), output }
}

/// The command's status, or `None` when it took too long and was killed, and the beginning of what it said.
fn attend(pid: i32, mut streams: Ours, signals: &SignalFd, until: Instant) -> (Option<i32>, Vec<u8>) {
    let mut output = Vec::new();
    let mut code = None;
    loop {
        let patience = if code.is_some() { DRAIN_GRACE } else { until.saturating_duration_since(Instant::now()) };
        if patience.is_zero() {
            kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
            waitpid(Pid::from_raw(pid), None).ok();
            return (None, output);
        }
        let ready = wait(&streams, signals, patience);
        let heard = listen(&mut streams, &mut output);
        if code.is_none() {
            while let Ok(Some(_)) = signals.read_signal() {}
            code = reaped(pid);
        }
        let ended = streams.output.is_none() && streams.error.is_none();
        if code.is_some() && (ended || (!ready && !heard)) {
            return (code, output);
        }
    }
}

fn wait(streams: &Ours, signals: &SignalFd, patience: Duration) -> bool {
    let sources =
        [Some(signals.as_fd()), streams.output.as_ref().map(AsFd::as_fd), streams.error.as_ref().map(AsFd::as_fd)];
    let mut polled: Vec<_> = sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    poll(&mut polled, Some(&patience)).is_ok_and(|ready| ready > 0)
}

/// Takes what is there; what is beyond the limit is read and dropped, so that the command goes on. True when there was any.
fn listen(streams: &mut Ours, output: &mut Vec<u8>) -> bool {
    let mut heard = false;
    let mut buffer = [0; 4096];
    for slot in [&mut streams.output, &mut streams.error] {
        let Some(fd) = slot else { continue };
        match rustix::io::read(&*fd, &mut buffer) {
            Ok(0) => *slot = None,
            Ok(count) => {
                heard = true;
                let room = (OUTPUT_LIMIT + 1).saturating_sub(output.len());
                output.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => *slot = None,
        }
    }
    heard
}

/// The command's status when it has ended; other dead children are collected on the way.
fn reaped(pid: i32) -> Option<i32> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(child, code)) if child.as_raw() == pid => return Some(code),
            Ok(WaitStatus::Signaled(child, signal, _)) if child.as_raw() == pid => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// A duration as Go writes it.
fn spelled(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = (duration - Duration::from_secs(hours * 3600 + minutes * 60)).as_secs_f64();
    match (hours, minutes) {
        (0, 0) if rest < 1.0 => format!("{}ms", rest * 1000.0),
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_go_does() {
        for (millis, text) in
            [(100, "100ms"), (1500, "1.5s"), (30_000, "30s"), (90_000, "1m30s"), (3_600_000, "1h0m0s")]
        {
            assert_eq!(spelled(Duration::from_millis(millis)), text);
        }
    }
}
