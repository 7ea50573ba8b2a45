//! The pipes between a monitor and its process, and the ends each of them holds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::{LinuxIdMapping, Spec};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pipe::PipeFlags;

/// What the process gets as 0, 1 and 2.
#[derive(Debug)]
pub struct Theirs {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// The monitor's ends. All are non-blocking.
#[derive(Debug, Default)]
pub struct Ours {
    /// Writes to the process's standard input or terminal.
    pub input: Option<OwnedFd>,
    /// Reads its standard output or terminal.
    pub output: Option<OwnedFd>,
    /// Reads its standard error.
    pub error: Option<OwnedFd>,
    /// The terminal's other end, kept open so that a program may close and reopen its terminal. Dropped when it ends.
    pub terminal: Option<OwnedFd>,
}

/// Who a user of the container is on the host.
pub fn owner(spec: &Spec, uid: u32) -> u32 {
    let mappings = spec.linux().as_ref().and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let place = |map: &LinuxIdMapping| {
        let at = uid.checked_sub(map.container_id()).filter(|at| *at < map.size())?;
        Some(map.host_id() + at)
    };
    mappings.iter().find_map(place).unwrap_or(uid)
}

/// Three pipes, or two and `/dev/null`. They belong to the process's user, who may open `/dev/stdout` anew.
pub fn pipes(stdin: bool, owner: u32) -> io::Result<(Theirs, Ours)> {
    let (output, stdout) = pipe(owner)?;
    let (error, stderr) = pipe(owner)?;
    nonblocking(&output)?;
    nonblocking(&error)?;
    let (stdin, input) = if stdin {
        let (theirs, ours) = pipe(owner)?;
        nonblocking(&ours)?;
        (theirs, Some(ours))
    } else {
        (rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None)
    };
    let ours = Ours { input, output: Some(output), error: Some(error), terminal: None };
    Ok((Theirs { stdin, stdout, stderr }, ours))
}

/// Makes reads and writes return instead of waiting.
pub fn nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

fn pipe(owner: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    if owner != 0 {
        rustix::fs::fchown(&write, Some(Uid::from_raw(owner)), None::<Gid>)?;
    }
    Ok((read, write))
}
