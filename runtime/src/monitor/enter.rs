//! Entering a running container with a new process.
//!
//! libcontainer's own way (its tenant builder) gives the new process no seccomp filter at all and takes three processes;
//! this one gives it the container's filter and takes one fork. What must hold, in this request: control groups while their
//! files are in sight, namespaces, terminal, limits and groups, then the filter, then user and capabilities.

use std::convert::Infallible;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use libcontainer::capabilities;
use libcontainer::syscall::syscall::create_syscall;
use mica_engine::Kind;
use mica_engine::runtime::{ExecRequest, RunState};
use mica_runtime::request::RuntimeRecord;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{ForkResult, fork};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Gid, Mode, OFlags, Uid, major};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags};

use crate::cgroup::Cgroups;
use crate::command::{Report, replace, report};
use crate::console;
use crate::failure::{Failure, OrFail};
use crate::filter::Filter;
use crate::stdio::{self, Ours, Theirs};

/// Everything the new process needs, gathered while the host is still in sight.
struct Entry<'a> {
    process: &'a Process,
    target: OwnedFd,
    namespaces: CloneFlags,
    cgroups: Cgroups,
    filter: Option<Filter>,
    /// Where 0, 1 and 2 come from: pipes, or a terminal whose master is sent here.
    stdio: Result<Theirs, UnixStream>,
    terminal_size: Option<(u16, u16)>,
    report: Report,
}

/// Runs the order's process in the container. Returns when its program runs.
pub fn enter(request: &ExecRequest, state: &RunState, runtime: &RuntimeRecord) -> Result<(i32, Ours), Failure> {
    let context = || format!("cannot enter container `{}`", request.id);
    let gone = || Failure::new(Kind::Conflict, format!("container `{}` is not running", request.id));
    let target = Pid::from_raw(state.pid)
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
        .ok_or_else(gone)?;
    // With the descriptor open first, an equal start time means that it is this process and stays it.
    if mica_runtime::start_time(state.pid) != Some(state.pid_start) {
        return Err(gone());
    }
    let spec = Spec::load(runtime.bundle.join("config.json")).or_fail(context)?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let filter = profile.map(|profile| Filter::prepare(profile, runtime.cache.as_deref())).transpose()?;
    let owner = stdio::owner(&spec, request.spec.user().uid());
    let terminal = request.spec.terminal().unwrap_or(false);
    let (report, verdict) = report()?;
    let (masters, theirs) = UnixStream::pair().or_fail(context)?;
    let (stdio, ours) = if terminal {
        (Err(theirs), None)
    } else {
        let (theirs, ours) = stdio::pipes(request.stdin, owner).or_fail(context)?;
        (Ok(theirs), Some(ours))
    };
    let namespaces = differing(state.pid);
    // A process of the container may not look into this one, or what it forks, once it shows up there.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).or_fail(context)?;
    setns(&target, namespaces & CloneFlags::CLONE_NEWPID).or_fail(context)?;
    let entry = Entry {
        process: &request.spec,
        target,
        namespaces: namespaces - CloneFlags::CLONE_NEWPID,
        cgroups: Cgroups::of(state.pid),
        filter,
        stdio,
        terminal_size: request.terminal_size,
        report,
    };
    let pid = spawn(entry).or_fail(context)?;
    if let Some(failure) = verdict.wait() {
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).ok();
        return Err(failure);
    }
    let ours = match ours {
        Some(ours) => ours,
        None => console::receive_descriptor(&masters)
            .and_then(|master| console::streams(master, owner, None))
            .or_fail(context)?,
    };
    Ok((pid, ours))
}

/// The namespaces of the process that are not this one's. Entering one's own user namespace is an error, and entering the
/// others for nothing would still move the working directory.
fn differing(pid: i32) -> CloneFlags {
    let differs = |name: &str| {
        let inode = |owner: &str| rustix::fs::stat(format!("/proc/{owner}/ns/{name}")).map(|stat| stat.st_ino).ok();
        inode(&pid.to_string()) != inode("self")
    };
    [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ]
    .into_iter()
    .filter(|(name, _)| differs(name))
    .map(|(_, flag)| flag)
    .collect()
}

#[expect(unsafe_code, reason = "fork is unsafe because of threads, and there are none")]
fn spawn(entry: Entry<'_>) -> nix::Result<i32> {
    // SAFETY: this process has one thread, so no lock can be held by a thread that does not exist in the child, and the
    // child may allocate. It never returns from here.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            let report = entry.report.clone();
            let Err(failure) = become_program(entry);
            report.tell(&failure);
            // SAFETY: ends the process at once; destructors and exit hooks are the parent's business.
            unsafe { libc::_exit(1) }
        }
    }
}

fn become_program(entry: Entry<'_>) -> Result<Infallible, Failure> {
    let Entry { process, target, namespaces, cgroups, filter, stdio, terminal_size, report: _ } = entry;
    rustix::process::setsid().or_fail(|| "cannot make a session".into())?;
    cgroups.join().or_fail(|| "cannot enter the container's control groups".into())?;
    if let Some(score) = process.oom_score_adj() {
        // Here, because in a user namespace the file is somebody else's.
        fs_err::write("/proc/self/oom_score_adj", score.to_string())
            .or_fail(|| "cannot set the out-of-memory score".into())?;
    }
    if !namespaces.is_empty() {
        setns(&target, namespaces).or_fail(|| "cannot enter the container's namespaces".into())?;
    }
    if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
        // Root of the machine is nobody in there, and what nobody makes, such as a terminal, belongs to nobody.
        let context = || "cannot become root of the container's user namespace".into();
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).or_fail(context)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).or_fail(context)?;
    }
    drop(target);
    match stdio {
        Ok(theirs) => install(&theirs.stdin, &theirs.stdout, &theirs.stderr)?,
        Err(socket) => {
            let terminal =
                open_terminal(&socket, terminal_size).or_fail(|| "cannot make a terminal in the container".into())?;
            install(&terminal, &terminal, &terminal)?;
        }
    }
    restrict(process, filter.as_ref())?;
    replace(process, None)
}

fn install(stdin: impl AsFd, stdout: impl AsFd, stderr: impl AsFd) -> Result<(), Failure> {
    let context = || "cannot connect the standard streams".into();
    rustix::stdio::dup2_stdin(stdin).or_fail(context)?;
    rustix::stdio::dup2_stdout(stdout).or_fail(context)?;
    rustix::stdio::dup2_stderr(stderr).or_fail(context)
}

/// A terminal from the container's own devpts, whose master goes to the monitor. What answers at `/dev/ptmx` is the
/// container's choice, so it must prove to be the real multiplexer (CVE-2025-52565).
fn open_terminal(socket: &UnixStream, size: Option<(u16, u16)>) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&master)?;
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    if rustix::fs::fstatfs(&master)?.f_type != DEVPTS_SUPER_MAGIC || major(stat.st_rdev) != 5 {
        return Err(std::io::Error::other("`/dev/pts/ptmx` is no terminal multiplexer"));
    }
    rustix::pty::unlockpt(&master)?;
    let peer = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, peer)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"t")], &mut ancillary, SendFlags::NOSIGNAL)?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    if let Some((rows, columns)) = size {
        // Here and not in the monitor, or the program could look before the size is set.
        console::resize(&terminal, rows, columns)?;
    }
    Ok(terminal)
}

/// Everything that makes the process no more than the container's own.
fn restrict(process: &Process, filter: Option<&Filter>) -> Result<(), Failure> {
    let syscall = create_syscall();
    let privileges = process.no_new_privileges().unwrap_or(false);
    for limit in process.rlimits().iter().flatten() {
        syscall.set_rlimit(limit).or_fail(|| "cannot set a resource limit".into())?;
    }
    if let Some(umask) = process.user().umask() {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    if let Some(profile) = process.apparmor_profile() {
        libcontainer::apparmor::apply_profile(profile).or_fail(|| format!("cannot apply profile `{profile}`"))?;
    }
    let load = || filter.map_or(Ok(()), Filter::load);
    if privileges {
        rustix::thread::set_no_new_privs(true).or_fail(|| "cannot set no-new-privileges".into())?;
    }
    // As root first: root may enter directories its user may not, and the other way round on network file systems.
    let entered = rustix::process::chdir(process.cwd());
    let user = process.user();
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    let context = || format!("cannot become user {}:{}", user.uid(), user.gid());
    rustix::thread::set_thread_groups(&groups).or_fail(context)?;
    rustix::thread::set_keep_capabilities(true).or_fail(context)?;
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    rustix::thread::set_thread_res_gid(gid, gid, gid).or_fail(context)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).or_fail(context)?;
    rustix::thread::set_keep_capabilities(false).or_fail(context)?;
    capabilities::reset_effective(&*syscall).or_fail(context)?;
    if !privileges {
        // Loading a filter takes CAP_SYS_ADMIN unless privileges are already given up for good.
        load()?;
    }
    if let Some(capabilities) = process.capabilities() {
        capabilities::drop_privileges(capabilities, &*syscall).or_fail(|| "cannot drop capabilities".into())?;
    }
    if entered.is_err() {
        let cwd = process.cwd().display();
        rustix::process::chdir(process.cwd()).map_err(|errno| {
            let reason = format!("chdir to cwd (\"{cwd}\") failed: {}", std::io::Error::from(errno));
            Failure::new(Kind::NotExecutable, reason)
        })?;
    }
    // A directory outside the container's root has no path in it (CVE-2024-21626).
    rustix::process::getcwd(Vec::new())
        .map_err(|_| Failure::new(Kind::NotExecutable, "the working directory is outside the container"))?;
    if privileges {
        load()?;
    }
    Ok(())
}
