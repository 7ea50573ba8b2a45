//! What a monitor does before anything else, so that nothing of its caller reaches a container: session, umask, signal
//! dispositions, capabilities that survive an exec, and the descriptors 0 to 2.

use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::fs::{Mode, OFlags};

/// Detaches from the caller and returns the socket that came as standard input.
pub fn prepare() -> io::Result<UnixStream> {
    // The file was executed through a descriptor, whose number the kernel took for a name.
    rustix::thread::set_name(c"mica-monitor")?;
    close_inherited()?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::net::getsockname(&socket)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    nix::unistd::setsid().ok();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    reset_dispositions();
    forget_inheritable()?;
    leave_keyring();
    // libcontainer sets groups only when the spec names some; a container must not keep its caller's (CVE-2022-36109).
    // Without the privilege for it the kernel refuses, and then the user namespace decides.
    rustix::thread::set_thread_groups(&[]).ok();
    Ok(UnixStream::from(socket))
}

/// Unblocks every signal and gives every one its default, as the last thing before the user's program.
#[expect(unsafe_code, reason = "changing a signal's disposition is unsafe in every library")]
pub fn reset_signals() -> io::Result<()> {
    reset_dispositions();
    // SAFETY: SIG_DFL installs no function that could run.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// `nohup` and shells ignore signals for the whole tree below them, and glibc's `posix_spawn` ignores the two it keeps for
/// itself in every child; a container starts with the defaults. SIGPIPE stays ignored: a monitor writes to pipes and
/// sockets whose readers go away.
#[expect(unsafe_code, reason = "changing a signal's disposition is unsafe in every library")]
fn reset_dispositions() {
    // The kernel's `struct sigaction` is at most 32 bytes; all zero means SIG_DFL, no flags, an empty mask.
    let default = [0_u64; 4];
    let none = std::ptr::null_mut::<u64>();
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP | libc::SIGPIPE)) {
        // SAFETY: SIG_DFL installs no function that could run, and the kernel reads at most the 32 bytes of `default`. The
        // call goes past glibc because glibc refuses signals 32 and 33, which it uses only between threads.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>()) };
    }
}

/// A caller's pipe or terminal held open for a container's whole life would keep its other end waiting for it.
#[expect(unsafe_code, reason = "closing descriptors that nothing owns is unsafe in every library")]
fn close_inherited() -> io::Result<()> {
    // SAFETY: this is the first thing the program does, so no object owns a descriptor above 2 yet.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A keyring of its own for the session: the caller's may hold keys of the kernel's (keyrings(7)), which a container without
/// a filter could use. Kernels without keys, and users with too many of them, go on as they are.
#[expect(unsafe_code, reason = "neither rustix nor nix has keyctl")]
fn leave_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null pointer asks for a keyring without a name; no memory is read or written.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// Inheritable capabilities of the caller would come up in the container (CVE-2022-24769).
fn forget_inheritable() -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = rustix::thread::CapabilitySet::empty();
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}
