//! The embedded OCI runtime: libcontainer.

use std::path::PathBuf;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use mica_engine::Kind;

use crate::command::{Program, Verdict, report};
use crate::failure::{Failure, OrFail};
use crate::oci::{Bundle, OciRuntime, Stdio};

/// One container of libcontainer.
#[derive(Debug)]
pub struct Embedded<'a> {
    bundle: Bundle<'a>,
    state: PathBuf,
    container: Option<Container>,
    verdict: Option<Verdict>,
}

impl<'a> Embedded<'a> {
    /// A container not yet made.
    pub fn new(bundle: Bundle<'a>) -> Self {
        Self { bundle, state: bundle.run_dir.join("libcontainer"), container: None, verdict: None }
    }

    fn build(&self, stdio: Stdio<'_>, program: Program) -> Result<Container, Failure> {
        let context = || format!("cannot create container `{}`", self.bundle.id);
        fs_err::create_dir_all(&self.state).or_fail(context)?;
        let builder = ContainerBuilder::new(self.bundle.id.to_owned(), SyscallType::default())
            .with_executor(program)
            .with_root_path(&self.state)
            .or_fail(context)?;
        let builder = match stdio {
            Stdio::Pipes(theirs) => {
                builder.with_stdin(theirs.stdin).with_stdout(theirs.stdout).with_stderr(theirs.stderr)
            }
            Stdio::Console(socket) => builder.with_console_socket(Some(socket)),
        };
        builder.as_init(self.bundle.path).with_systemd(false).with_detach(true).build().or_fail(context)
    }
}

impl OciRuntime for Embedded<'_> {
    fn create(&mut self, stdio: Stdio<'_>) -> Result<i32, Failure> {
        let (report, verdict) = report()?;
        let score = fs_err::read_to_string("/proc/self/oom_score_adj").ok();
        let built = self.build(stdio, Program::new(report));
        if let Some(score) = score {
            // libcontainer sets the container's score on the whole process that calls it. Without CAP_SYS_RESOURCE the
            // way back is barred, and the monitor then shares its container's fate.
            fs_err::write("/proc/self/oom_score_adj", score).ok();
        }
        match built {
            Ok(container) => {
                let pid = container.pid();
                self.container = Some(container);
                self.verdict = Some(verdict);
                pid.map(|pid| pid.as_raw()).ok_or_else(|| Failure::new(Kind::Internal, "the container has no process"))
            }
            // What the program's own check said is clearer than what the library makes of it.
            Err(failure) => Err(verdict.wait().unwrap_or(failure)),
        }
    }

    fn start(&mut self) -> Result<(), Failure> {
        let (Some(container), Some(verdict)) = (&mut self.container, self.verdict.take()) else {
            return Err(Failure::new(Kind::Internal, "the container was not created"));
        };
        container.start().or_fail(|| format!("cannot start container `{}`", self.bundle.id))?;
        verdict.wait().map_or(Ok(()), Err)
    }

    fn delete(&mut self) {
        // The control groups are gone already. Asking libcontainer to delete reads the mount table two dozen times to find
        // them, so it is asked only when there are hooks to run.
        let hooks = self.container.as_ref().and_then(|container| container.spec().ok()).and_then(|spec| spec.hooks);
        if let Some(container) = &mut self.container
            && hooks.is_some_and(|hooks| hooks.poststop().is_some())
        {
            container.delete(true).ok();
        }
        fs_err::remove_dir_all(&self.state).ok();
    }
}
