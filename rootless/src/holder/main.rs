//! mica-holder: makes the namespaces of a user without privileges, and holds them while somebody needs them.
//!
//! Its standard input is a line to the command that starts it, which has the IDs mapped; its standard output is the socket on
//! which it hands the namespaces out. Its arguments are the run root and, when another holder was killed, a process in the user
//! namespace that is held from now on.

mod serve;
mod way_out;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mica_rootless::groups;
use mica_rootless::survivor::ID;
use mica_rootless::wire::Namespaces;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountPropagationFlags;

/// The network namespace as a file, in the mount namespace of the user, by which programs find it.
const NETWORK: &str = "network.ns";

fn main() -> ExitCode {
    let Some(run_root) = std::env::args_os().nth(1).map(PathBuf::from) else { return ExitCode::from(2) };
    let survivor = std::env::args().nth(2);
    let Ok((mut parent, listener)) = take_over() else { return ExitCode::from(2) };
    let namespaces = match prepare(&run_root, survivor.as_deref(), &mut parent) {
        Ok(namespaces) => namespaces,
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(nix::libc::EIO);
            let _ = parent.write_all(&[&b"-"[..], &number.to_ne_bytes()].concat());
            return ExitCode::FAILURE;
        }
    };
    if parent.write_all(b"+").is_err() {
        return ExitCode::FAILURE;
    }
    drop(parent);
    match serve::run(&run_root, listener, namespaces) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Leaves the caller's session and takes what came as standard input and output.
fn take_over() -> io::Result<(UnixStream, UnixListener)> {
    let _ = rustix::process::setsid();
    let parent = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    // The way out may leave its parent when it is ready, and is to be ended and collected here.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok((parent.into(), listener.into()))
}

fn prepare(run_root: &Path, survivor: Option<&str>, parent: &mut UnixStream) -> io::Result<Namespaces> {
    match survivor {
        None => unshare(CloneFlags::CLONE_NEWUSER)?,
        Some(pid) => setns(fs_err::File::open(format!("/proc/{pid}/ns/user"))?, CloneFlags::CLONE_NEWUSER)?,
    }
    parent.write_all(b"+")?;
    // The maps are written now; without them this process is nobody.
    parent.read_exact(&mut [0])?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What the host mounts and unmounts later happens here too, and nothing of here there.
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    groups::settle(survivor)?;
    let network = network(&run_root.join(NETWORK))?;
    let user = own("user")?;
    fs_err::write(run_root.join(ID), rustix::fs::fstat(&user)?.st_ino.to_string())?;
    Ok(Namespaces { user, mount: own("mnt")?, network })
}

/// A new network namespace, made by a thread that ends with it: this process stays where the host's network is, because
/// what it starts later connects the two.
fn network(file: &Path) -> io::Result<OwnedFd> {
    let file = file.to_owned();
    let make = move || {
        // A holder that was killed left its file, and a `pasta` that waits for the file to go.
        let _ = fs_err::remove_file(&file);
        fs_err::write(&file, "")?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", &file)?;
        Ok(rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    };
    std::thread::spawn(make).join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes a network died")))
}

fn own(kind: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(format!("/proc/self/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
