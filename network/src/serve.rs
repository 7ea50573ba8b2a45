//! Starting a container's name server, and what it is told.
//!
//! It is a small process, `mica-names`, with two sockets of the container's namespace. It lives as long as somebody holds the
//! other end of its standard input, or as long as a process whose descriptor it got.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::helper;
use crate::inside::NameSockets;

/// What a name server is told.
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
    let mut fds = vec![sockets.udp.as_fd(), sockets.tcp.as_fd()];
    if let Life::Process(process) = &life {
        fds.push(process.as_fd());
    }
    helper::start(program, names, &fds)
}
