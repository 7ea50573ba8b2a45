//! Starting a monitor and reaching one: the only places of the client that touch processes and sockets.

use std::ffi::OsString;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::Starter;
use super::executable::open_unwritable;
use crate::Error;
use crate::frame::Frame;
use crate::request::{DESCRIPTORS, Request};

/// What a monitor may know of its caller's environment. Everything else stays behind: `LISTEN_FDS` would make the OCI
/// runtime pass descriptors on, and a container's log is no place for a shell's secrets.
const ENVIRONMENT: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "MICA_CONFIG"];

/// Starts a monitor and sends it its request. The socket is the first session.
pub fn launch(
    monitor: &Path,
    starter: Option<&Starter>,
    request: &Request,
    descriptors: &[OwnedFd],
) -> Result<UnixStream, Error> {
    let failed = |source| Error::Launch { path: monitor.into(), source };
    let json = serde_json::to_vec(request).map_err(|source| Error::Json { operation: "write a request", source })?;
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let executable = open_unwritable(monitor).map_err(failed)?;
    let kept = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    if let Some(Starter(start)) = starter {
        let executable = match executable {
            Some(executable) => executable,
            None => rustix::fs::open(monitor, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| failed(errno.into()))?,
        };
        let environment: Vec<_> = kept.map(|(name, value)| (OsString::from(name), value)).collect();
        start(executable.as_fd(), theirs.as_fd(), &environment).map_err(failed)?;
        drop(theirs);
        send(&ours, &Frame::Request(json).to_bytes(), descriptors)?;
        return Ok(ours);
    }
    let mut command = match &executable {
        Some(fd) => Command::new(format!("/proc/self/fd/{}", fd.as_raw_fd())),
        None => Command::new(monitor),
    };
    // The socket travels as standard input: descriptors above 2 could only be inherited by clearing close-on-exec in this
    // process, where another thread's child would inherit them too.
    let mut child = command
        .arg0("mica-monitor")
        .env_clear()
        .envs(kept)
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    drop(command);
    // A client that outlives the container (a build has hundreds) must not collect zombies.
    std::thread::spawn(move || child.wait());
    send(&ours, &Frame::Request(json).to_bytes(), descriptors)?;
    Ok(ours)
}

/// Connects to the monitor of a running container.
pub fn connect(run_dir: &Path) -> Result<UnixStream, Error> {
    let not_running = || Error::NotRunning { run_dir: run_dir.into() };
    let directory = rustix::fs::openat(CWD, run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|_| not_running())?;
    // Through the descriptor, because a socket's path is limited to 107 bytes and a run root may lie deep.
    let path = format!("/proc/self/fd/{}/attach.sock", directory.as_raw_fd());
    UnixStream::connect(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => not_running(),
        _ => Error::Io { operation: "connect to", path: run_dir.join("attach.sock"), source },
    })
}

/// Sends a frame with descriptors.
pub fn send(mut socket: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) -> Result<(), Error> {
    if descriptors.len() > DESCRIPTORS {
        return Err(Error::TooMany { descriptors: descriptors.len(), most: DESCRIPTORS });
    }
    let failed = |source| Error::Connection { operation: "send the request to", source };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
        .map_err(|error| failed(error.into()))?;
    socket.write_all(bytes.get(sent..).unwrap_or_default()).map_err(failed)
}
