//! Finding and executing the user's program inside the container, with an answer that says exactly what is wrong.
//!
//! The answer travels through a pipe that closes by itself when the program runs, so silence means success.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use libcontainer::capabilities::drop_privileges;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use mica_engine::Kind;
use oci_spec::runtime::{LinuxCapabilities, PosixRlimit, Process, Spec};
use rustix::fs::{Access, FileType};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::failure::{Failure, OrFail};
use crate::filter::Filter;
use crate::hygiene::reset_signals;
use crate::propagation;

/// What a process looks for its program in when its environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The container's side of the pipe.
#[derive(Debug, Clone)]
pub struct Report(Rc<OwnedFd>);

/// The monitor's side of the pipe.
#[derive(Debug)]
pub struct Verdict(fs_err::File);

/// A pipe for one program's failure.
pub fn report() -> Result<(Report, Verdict), Failure> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).or_fail(|| "cannot make a pipe".into())?;
    let file = fs_err::File::from_parts(read.into(), "report pipe");
    Ok((Report(Rc::new(write)), Verdict(file)))
}

impl Report {
    /// Tells the monitor why the program does not run.
    pub fn tell(&self, failure: &Failure) {
        let code: u8 = match failure.kind {
            Kind::CommandNotFound => 127,
            Kind::NotExecutable => 126,
            _ => 1,
        };
        let mut bytes = vec![code];
        bytes.extend_from_slice(failure.message.as_bytes());
        // A message is shorter than a pipe; should the monitor be gone, there is nobody left to tell.
        rustix::io::write(&*self.0, &bytes).ok();
    }
}

impl Verdict {
    /// Waits until the program runs or has failed to. Every copy of the other end must be closed or close-on-exec.
    pub fn wait(mut self) -> Option<Failure> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).ok();
        let (code, message) = bytes.split_first()?;
        let kind = match code {
            127 => Kind::CommandNotFound,
            126 => Kind::NotExecutable,
            _ => Kind::Internal,
        };
        Some(Failure::new(kind, String::from_utf8_lossy(message)))
    }
}

/// What the program's process gives up last, in its own hands instead of libcontainer's.
#[derive(Debug, Clone)]
pub struct Confinement {
    pub filter: Option<Filter>,
    pub capabilities: Option<LinuxCapabilities>,
    pub no_new_privileges: bool,
    pub limits: Vec<PosixRlimit>,
}

/// libcontainer's hook around the program.
#[derive(Debug, Clone)]
pub struct Program {
    report: Report,
    confinement: Confinement,
    home: OnceCell<String>,
}

impl Confinement {
    /// Loading a filter takes CAP_SYS_ADMIN unless privileges are already given up for good; then it comes last, so that
    /// it need not allow the calls that give them up.
    fn apply(&self) -> Result<(), Failure> {
        let load = || self.filter.as_ref().map_or(Ok(()), Filter::load);
        let syscall = create_syscall();
        for limit in &self.limits {
            let context = || format!("cannot set the resource limit `{}`", limit.typ());
            syscall.set_rlimit(limit).or_fail(context)?;
        }
        if !self.no_new_privileges {
            load()?;
        }
        if let Some(capabilities) = &self.capabilities {
            drop_privileges(capabilities, &*syscall).or_fail(|| "cannot drop capabilities".into())?;
        }
        if self.no_new_privileges { load() } else { Ok(()) }
    }
}

impl Program {
    /// A program whose failure is reported.
    pub fn new(report: Report, confinement: Confinement) -> Self {
        Self { report, confinement, home: OnceCell::new() }
    }
}

impl Executor for Program {
    /// From here to the start signal the process waits for its monitor, and must not wait for a dead one. The program is
    /// looked up later, with the rights it will have.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
    }

    /// The environment goes to the program through execve, in its own order and with entries this process could not hold.
    fn setup_envs(&self, mut envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        if let Some(home) = envs.remove("HOME") {
            self.home.set(home).ok();
        }
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let home = self.home.get().map(String::as_str);
        let confined = propagation::set(spec).and_then(|()| self.confinement.apply());
        let Err(failure) = confined.and_then(|()| replace(process, home));
        self.report.tell(&failure);
        Err(ExecutorError::Other(failure.message))
    }
}

/// Executes the process's program. Returns only to say why it did not.
pub fn replace(process: &Process, home: Option<&str>) -> Result<Infallible, Failure> {
    let program = resolve(process)?;
    let mut environment = process.env().clone().unwrap_or_default();
    if let Some(home) = home
        && !environment.iter().any(|entry| entry.starts_with("HOME="))
    {
        environment.push(format!("HOME={home}"));
    }
    let arguments = strings(process.args().as_deref().unwrap_or_default())?;
    let environment = strings(&environment)?;
    reset_signals().or_fail(|| "cannot reset the signals".into())?;
    // A monitor that is killed takes its container along instead of leaving it to nobody. The kernel clears this when
    // the program gains privileges; then the recorded state still leads the engine to it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .or_fail(|| "cannot tie the container to its monitor".into())?;
    let Err(error) = nix::unistd::execve(&program, &arguments, &environment);
    Err(refusal(&program.to_string_lossy(), Errno::from_raw_os_error(error as i32)))
}

/// The program's path, looked up as a shell does, with the rights and from the working directory of the calling process.
fn resolve(process: &Process) -> Result<CString, Failure> {
    let name = process.args().iter().flatten().next().map_or("", String::as_str);
    if name.is_empty() {
        return Err(Failure::new(Kind::CommandNotFound, "exec: \"\": executable file not found in $PATH"));
    }
    if name.contains('/') {
        return check(name).map_err(|errno| refusal(name, errno)).and_then(|()| string(name));
    }
    let path = process.env().iter().flatten().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    // An empty entry would mean the working directory, which an image's author does not choose the contents of.
    for directory in path.split(':').filter(|directory| !directory.is_empty()) {
        let candidate = format!("{directory}/{name}");
        match check(&candidate) {
            Ok(()) => return string(&candidate),
            Err(Errno::ACCESS) => denied = denied.or(Some(candidate)),
            Err(_) => {}
        }
    }
    match denied {
        Some(candidate) => Err(refusal(&candidate, Errno::ACCESS)),
        None => {
            Err(Failure::new(Kind::CommandNotFound, format!("exec: \"{name}\": executable file not found in $PATH")))
        }
    }
}

fn check(path: &str) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::access(path, Access::EXEC_OK)
}

fn refusal(path: &str, errno: Errno) -> Failure {
    let (kind, reason) = match errno {
        Errno::NOENT | Errno::NOTDIR => (Kind::CommandNotFound, "no such file or directory".into()),
        Errno::ACCESS | Errno::PERM => (Kind::NotExecutable, "permission denied".into()),
        Errno::ISDIR => (Kind::NotExecutable, "is a directory".into()),
        Errno::NOEXEC => (Kind::NotExecutable, "exec format error".into()),
        other => (Kind::NotExecutable, other.to_string()),
    };
    Failure::new(kind, format!("exec: \"{path}\": {reason}"))
}

fn strings(values: &[String]) -> Result<Vec<CString>, Failure> {
    values.iter().map(|value| string(value)).collect()
}

fn string(value: &str) -> Result<CString, Failure> {
    CString::new(value).map_err(|_| Failure::new(Kind::InvalidInput, format!("{value:?} holds a NUL byte")))
}
