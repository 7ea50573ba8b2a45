//! Starting a container's name server, and what it is told.
//!
//! It is a small process, `mica-names`, with two sockets of the container's namespace. It lives as long as somebody holds the
//! other end of its standard input, or as long as a process whose descriptor it got.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mica_engine::Kind;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::inside::NameSockets;

/// What a name server is told, as a line of JSON on its standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Names {
    /// Its container's hot state, with `network.json`.
    pub run_dir: PathBuf,
    /// `<run>/networks`.
    pub networks: PathBuf,
    /// Who is asked for other names; the host's resolvers when empty.
    pub upstream: Vec<IpAddr>,
}

/// How long a name server lives.
#[derive(Debug)]
pub enum Life {
    /// As long as the returned descriptor is open.
    Line,
    /// As long as a process, of which this is a descriptor.
    Process(OwnedFd),
}

/// Starts a name server. It answers what was asked before it was ready: the sockets are open already.
pub fn start(program: &Path, names: &Names, sockets: &NameSockets, life: Life) -> Result<OwnedFd> {
    let failed = |source: std::io::Error| Error::file("start the name server", program)(source);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut child = Command::new(program)
        .env_clear()
        .current_dir("/")
        // A key typed at the terminal of whoever starts the container is not meant for it.
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // A caller that outlives the container must not collect zombies.
    std::thread::spawn(move || child.wait());
    let mut text = serde_json::to_vec(names).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    text.push(b'\n');
    let mut fds = vec![sockets.udp.as_fd(), sockets.tcp.as_fd()];
    if let Life::Process(process) = &life {
        fds.push(process.as_fd());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = rustix::net::sendmsg(&ours, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)
        .map_err(|errno| failed(errno.into()))?;
    (&ours).write_all(text.get(sent..).unwrap_or_default()).map_err(failed)?;
    Ok(ours.into())
}
