//! Runs a command with all its children and threads under ptrace, stops at every call that changes something, counts
//! them, and does one thing at one of them: kills, or lets the call fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::call::{self, Call, Class};
use super::launch;

/// How long a command and all it started may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Everything that the command has started, and itself.
    Tree,
    /// The command alone.
    Client,
    /// Whoever reached the call.
    Caller,
}

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, before the call or after it.
    Kill { after: bool, whom: Whom },
    /// The call fails; `for_good`: so does every later one that could meet the same error.
    Error { errno: Errno, for_good: bool },
}

/// What a traced command did.
#[derive(Debug, Default)]
pub struct Trace {
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// How it ended: its exit status, or 128 and the number of the signal.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// True when the chosen call was reached.
    pub struck: bool,
}

/// Runs `command`, which has neither input nor an environment of its own, and strikes at the call with the number
/// `at.0`. Returns when everything it has started is gone.
///
/// A thread is made for it, because a thread waits for what it has started itself: in the caller's, which may have a
/// registry to keep, the kernel would never say that nothing is left.
pub fn run(command: &Command, pinned: bool, scratch: &Path, store: &Path, at: Option<(usize, Fault)>) -> Result<Trace> {
    std::thread::scope(|scope| {
        let traced = scope.spawn(|| trace(command, pinned, scratch, store, at));
        traced.join().unwrap_or_else(|_| bail!("the tracer panicked"))
    })
}

fn trace(command: &Command, pinned: bool, scratch: &Path, store: &Path, at: Option<(usize, Fault)>) -> Result<Trace> {
    let (stdout, stderr) = (scratch.join("stdout"), scratch.join("stderr"));
    let mut launcher = Command::new(std::env::current_exe()?);
    launcher.arg(launch::TASK).arg(if pinned { launch::PINNED } else { launch::SPREAD });
    launcher.arg(command.get_program()).args(command.get_args());
    launcher.stdin(Stdio::null()).stdout(fs_err::File::create(&stdout)?.into_parts().0);
    launcher.stderr(fs_err::File::create(&stderr)?.into_parts().0);
    // The child is waited for below, with everything it starts.
    let root = Pid::from_raw(launcher.spawn().context("cannot start the launcher")?.id() as i32);
    let mut tracer = Tracer {
        root,
        store: store.to_owned(),
        at,
        alive: Arc::default(),
        stray: BTreeSet::new(),
        early: BTreeSet::new(),
        killed: None,
        trace: Trace::default(),
    };
    tracer.begin()?;
    let watchdog = Watchdog::start(tracer.alive.clone());
    while tracer.step()? {}
    let hung = watchdog.stop();
    if let Some(hung) = hung {
        bail!("after {} s these were still there: {hung}", PATIENCE.as_secs());
    }
    let mut trace = tracer.trace;
    trace.stdout = String::from_utf8_lossy(&fs_err::read(stdout)?).into_owned();
    trace.stderr = String::from_utf8_lossy(&fs_err::read(stderr)?).into_owned();
    Ok(trace)
}

struct Tracer {
    root: Pid,
    store: PathBuf,
    at: Option<(usize, Fault)>,
    alive: Arc<Mutex<BTreeSet<Pid>>>,
    /// Children that were announced and have not stopped yet.
    stray: BTreeSet<Pid>,
    /// Children that were seen before the event that announces them, and may be gone when it comes.
    early: BTreeSet<Pid>,
    killed: Option<Whom>,
    trace: Trace,
}

impl Tracer {
    /// Waits for the launcher's stop and sets what is to be told.
    fn begin(&mut self) -> Result<()> {
        match waitpid(self.root, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            other => bail!("the launcher did not stop: {other:?}"),
        }
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.root, options)?;
        self.live().insert(self.root);
        ptrace::cont(self.root, None)?;
        Ok(())
    }

    fn live(&self) -> std::sync::MutexGuard<'_, BTreeSet<Pid>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one event; false when nothing is left to wait for.
    fn step(&mut self) -> Result<bool> {
        // Only what this thread has started: the harness has other children, and other workers trace commands of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let event = match waitpid(None, Some(flags)) {
            Ok(event) => event,
            Err(Errno::ECHILD) => return Ok(false),
            Err(Errno::EINTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        match event {
            WaitStatus::Exited(pid, code) => self.gone(pid, code),
            WaitStatus::Signaled(pid, signal, _) => self.gone(pid, 128 + signal as i32),
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_SECCOMP) => self.stopped_at_call(pid),
            WaitStatus::PtraceEvent(pid, _, event) => {
                let starts = [libc::PTRACE_EVENT_CLONE, libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK];
                if starts.contains(&event)
                    && let Ok(child) = ptrace::getevent(pid)
                {
                    let child = Pid::from_raw(child as i32);
                    if !self.early.remove(&child) {
                        self.live().insert(child);
                        self.stray.insert(child);
                    }
                }
                self.go_on(pid, None);
            }
            // The end of a call that was to be followed by a kill.
            WaitStatus::PtraceSyscall(pid) => match self.at {
                Some((_, Fault::Kill { after: true, whom })) if self.trace.struck && self.killed.is_none() => {
                    self.strike(pid, whom);
                }
                _ => self.go_on(pid, None),
            },
            WaitStatus::Stopped(pid, Signal::SIGSTOP) if self.is_first_stop(pid) => self.go_on(pid, None),
            WaitStatus::Stopped(pid, signal) => {
                // An exec shows as a trap where no event was asked for; a program never asks for one itself.
                self.go_on(pid, (signal != Signal::SIGTRAP).then_some(signal));
            }
            _ => {}
        }
        Ok(true)
    }

    fn is_first_stop(&mut self, pid: Pid) -> bool {
        if self.stray.remove(&pid) {
            return true;
        }
        let first = self.live().insert(pid);
        if first {
            self.early.insert(pid);
        }
        first
    }

    fn gone(&mut self, pid: Pid, status: i32) {
        if !self.live().remove(&pid) {
            self.early.insert(pid);
        }
        self.stray.remove(&pid);
        if pid == self.root {
            self.trace.status = status;
        }
    }

    /// A process that was killed meanwhile cannot go on, which is as well.
    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        if self.killed == Some(Whom::Tree) {
            let _ = kill(pid, Signal::SIGKILL);
            return;
        }
        let _ = ptrace::cont(pid, signal);
    }

    fn stopped_at_call(&mut self, pid: Pid) {
        let Ok(mut registers) = ptrace::getregs(pid) else { return };
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
        let call = if is_ours(pid) { call::read(pid, registers.orig_rax as i64, &arguments) } else { None };
        let Some(call) = call else { return self.go_on(pid, None) };
        let number = self.trace.calls.len();
        let failing = |errno| meets(&call, &self.store, errno);
        let fails = matches!(self.at, Some((_, Fault::Error { errno, .. })) if failing(errno));
        // What the survivors of a kill do is not counted.
        if self.killed.is_none() {
            self.trace.calls.push(call);
        }
        match self.at {
            Some((at, Fault::Kill { after, whom })) if at == number && self.killed.is_none() => {
                self.trace.struck = true;
                if after {
                    let _ = ptrace::syscall(pid, None);
                } else {
                    self.strike(pid, whom);
                }
            }
            Some((at, Fault::Error { errno, for_good })) if (at == number || for_good && number > at) && fails => {
                self.trace.struck = true;
                // No call has this number, so the kernel skips it and returns what stands in the register.
                registers.orig_rax = u64::MAX;
                registers.rax = i64::from(-(errno as i32)) as u64;
                let _ = ptrace::setregs(pid, registers);
                self.go_on(pid, None);
            }
            _ => self.go_on(pid, None),
        }
    }

    fn strike(&mut self, caller: Pid, whom: Whom) {
        self.killed = Some(whom);
        let victims: Vec<Pid> = match whom {
            Whom::Tree => self.live().iter().copied().collect(),
            Whom::Client => vec![self.root],
            Whom::Caller => vec![caller],
        };
        for victim in victims {
            let _ = kill(victim, Signal::SIGKILL);
        }
        if whom == Whom::Client {
            self.go_on(caller, None);
        }
    }
}

/// Whether a call can meet this error on the disk below a store.
pub fn meets(call: &Call, store: &Path, errno: Errno) -> bool {
    let class = call.class;
    let possible = match errno {
        Errno::ENOSPC => matches!(class, Class::Makes | Class::Writes | Class::Flushes),
        Errno::EIO => matches!(class, Class::Makes | Class::Writes | Class::Flushes | Class::Changes),
        _ => false,
    };
    // Locks are taken on files of the store, but `flock` itself asks no disk.
    possible && call.path.starts_with(store)
}

/// True for our own programs: what a container's process writes is its own business.
fn is_ours(pid: Pid) -> bool {
    // The launcher's own exec is the first stop, and no part of the command.
    fs_err::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| is_our_program(&exe))
}

/// True for `mica` and for its monitor, which runs from a mount of its file that has no name.
pub fn is_our_program(exe: &Path) -> bool {
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    exe == Path::new("/") || name.starts_with("mica") || name.starts_with("memfd:mica")
}

/// Ends what takes too long, and says what it was.
struct Watchdog {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Option<String>>,
}

impl Watchdog {
    fn start(alive: Arc<Mutex<BTreeSet<Pid>>>) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            stopped
                .recv_timeout(deadline - Instant::now())
                .err()
                .filter(|error| matches!(error, std::sync::mpsc::RecvTimeoutError::Timeout))?;
            let left: Vec<Pid> = alive.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
            let names = left.iter().map(|pid| {
                let status = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                format!("{pid} {}", status.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" "))
            });
            let names: Vec<String> = names.collect();
            for pid in &left {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            Some(names.join(", "))
        });
        Self { stop, thread }
    }

    fn stop(self) -> Option<String> {
        let _ = self.stop.send(());
        self.thread.join().ok().flatten()
    }
}
