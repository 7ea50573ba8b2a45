//! The embedded OCI runtime: libcontainer, which builds the container up to its last step.
//!
//! The seccomp filter and the capabilities are the last step and are taken out of the bundle it sees. libcontainer 0.7
//! confuses the mask and the value of a masked comparison, so that Docker's profile would forbid every `clone`; it refuses
//! `noNewPrivileges: false` together with a filter; and it compiles the filter anew for every container. The resource limits
//! go with them: libcontainer sets them first and then fails under what it has set, such as a limit of ten open files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::hooks::run_hooks;
use libcontainer::syscall::syscall::SyscallType;
use mica_engine::Kind;
use oci_spec::runtime::Spec;

use crate::command::{Confinement, Program, Report, Verdict, report};
use crate::failure::{Failure, OrFail};
use crate::filter::Filter;
use crate::limits::{self, Setting};
use crate::loopback::bring_up;
use crate::mounts::show_version_2;
use crate::oci::{Bundle, OciRuntime, Stdio};

/// One container of libcontainer.
#[derive(Debug)]
pub struct Embedded<'a> {
    bundle: Bundle<'a>,
    state: PathBuf,
    container: Option<Container>,
    verdict: Option<Verdict>,
    left_out: Vec<Setting>,
}

impl<'a> Embedded<'a> {
    /// A container not yet made.
    pub fn new(bundle: Bundle<'a>) -> Self {
        Self {
            bundle,
            state: bundle.run_dir.join("libcontainer"),
            container: None,
            verdict: None,
            left_out: Vec::new(),
        }
    }

    fn build(&mut self, stdio: Stdio<'_>, report: Report) -> Result<Container, Failure> {
        let id = self.bundle.id;
        let context = || format!("cannot create container `{id}`");
        let bundle = self.state.join("bundle");
        fs_err::create_dir_all(&bundle).or_fail(context)?;
        // The way to the root file system may be open to everybody, and the environment in here is nobody's business.
        fs_err::set_permissions(&self.state, std::fs::Permissions::from_mode(0o700)).or_fail(context)?;
        let program = Program::new(report, self.take_confinement(&bundle)?);
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
        builder.as_init(bundle).with_systemd(false).with_detach(true).build().or_fail(context)
    }

    /// Writes the bundle without what this monitor does itself, which is returned.
    fn take_confinement(&mut self, bundle: &Path) -> Result<Confinement, Failure> {
        let source = self.bundle.path.join("config.json");
        let context = || format!("cannot use `{}`", source.display());
        let mut spec = Spec::load(&source).or_fail(context)?;
        spec.canonicalize_rootfs(self.bundle.path).or_fail(context)?;
        let mut confinement =
            Confinement { filter: None, capabilities: None, no_new_privileges: false, limits: Vec::new() };
        if let Some(linux) = spec.linux_mut() {
            let profile = linux.seccomp().as_ref();
            confinement.filter = profile.map(|profile| Filter::prepare(profile, self.bundle.cache)).transpose()?;
            linux.set_seccomp(None);
            // A bundle that neither names a group nor limits anything is for where there are no groups to be had.
            let asks_for_none = linux.resources().is_none() && linux.cgroups_path().is_none();
            if asks_for_none && !limits::is_version_2() {
                show_version_2()?;
            }
            self.left_out = limits::left_out(linux.resources().as_ref(), limits::is_version_2());
        }
        if let Some(process) = spec.process_mut() {
            confinement.capabilities = process.capabilities().clone();
            confinement.no_new_privileges = process.no_new_privileges().unwrap_or(false);
            process.set_capabilities(None);
            confinement.limits = process.rlimits().clone().unwrap_or_default();
            process.set_rlimits(None);
        }
        spec.save(bundle.join("config.json")).or_fail(context)?;
        Ok(confinement)
    }
}

impl OciRuntime for Embedded<'_> {
    fn create(&mut self, stdio: Stdio<'_>) -> Result<i32, Failure> {
        let (report, verdict) = report()?;
        let score = fs_err::read_to_string("/proc/self/oom_score_adj").ok();
        let built = self.build(stdio, report);
        if let Some(score) = score {
            // libcontainer sets the container's score on the whole process that calls it. Without CAP_SYS_RESOURCE the
            // way back is barred, and the monitor then shares its container's fate.
            fs_err::write("/proc/self/oom_score_adj", score).ok();
        }
        let container = built?;
        let pid = container.pid();
        self.container = Some(container);
        self.verdict = Some(verdict);
        let pid = pid.ok_or_else(|| Failure::new(Kind::Internal, "the container has no process"))?.as_raw();
        limits::apply(&self.left_out, pid)?;
        bring_up(pid)
            .or_fail(|| format!("cannot bring up the loopback interface of container `{}`", self.bundle.id))?;
        Ok(pid)
    }

    fn start(&mut self) -> Result<(), Failure> {
        let (Some(container), Some(verdict)) = (&mut self.container, self.verdict.take()) else {
            return Err(Failure::new(Kind::Internal, "the container was not created"));
        };
        container.start().or_fail(|| format!("cannot start container `{}`", self.bundle.id))?;
        verdict.wait().map_or(Ok(()), Err)?;
        // libcontainer runs all hooks but these.
        if let Some(hooks) = container.spec().ok().and_then(|config| config.hooks) {
            run_hooks(hooks.poststart().as_ref(), Some(&container.state), None, container.pid(), None)
                .or_fail(|| format!("a hook of container `{}` after its start failed", self.bundle.id))?;
        }
        Ok(())
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
