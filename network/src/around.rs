//! Networks of a user without privileges: they are in a network namespace of the user's, not in the machine's.
//!
//! Everything that is done to the kernel is done in there. What crosses its border are packets to the outside, which somebody
//! else carries (a [`WayOut`]), and connections to published ports, which `mica-ports` carries: it holds sockets of the
//! machine's network, and reaches the container from inside the namespace.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_engine::Kind;
use mica_engine::container::Protocol;
use mica_engine::network::Endpoint;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::helper;
use crate::publish::Reserved;

/// Gives the namespace a way to the outside, unless it has one. Fails with the reason.
pub type WayOut = Arc<dyn Fn() -> std::result::Result<(), String> + Send + Sync>;

/// A network namespace around the networks.
#[derive(Clone)]
pub struct Around {
    /// The namespace.
    pub namespace: Arc<OwnedFd>,
    /// Its way out.
    pub way_out: WayOut,
    /// The program `mica-ports`.
    pub ports: PathBuf,
}

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Around {
    /// Sees to it that there is a way out.
    pub fn open(&self) -> Result<()> {
        (self.way_out)().map_err(|reason| Error::refused(Kind::Unavailable, reason))
    }
}

/// A port that is carried to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// What comes through it.
    pub protocol: Protocol,
    /// Where it goes.
    pub to: SocketAddr,
}

/// Starts carrying what comes to reserved ports, which are in the order of their bindings. It goes on as long as the returned
/// descriptor is open.
pub fn carry(program: &Path, namespace: &OwnedFd, reserved: &Reserved, endpoint: &Endpoint) -> Result<OwnedFd> {
    let to = |address: std::net::IpAddr| match endpoint.ipv6 {
        Some((inside, _)) if address.is_ipv6() => Some(inside.into()),
        // The machine's IPv6 leads to a container that has none.
        _ => endpoint.ipv4.map(|(inside, _)| std::net::IpAddr::V4(inside)),
    };
    let carried = reserved.bindings.iter().map(|binding| match (binding.container.protocol, to(binding.address)) {
        (Protocol::Sctp, _) => {
            Err(Error::refused(Kind::Unsupported, "SCTP ports cannot be published without privileges"))
        }
        (_, None) => Err(Error::refused(Kind::Internal, "a container without an address")),
        (protocol, Some(to)) => Ok(Carried { protocol, to: SocketAddr::new(to, binding.container.port) }),
    });
    let carried = carried.collect::<Result<Vec<_>>>()?;
    let mut fds = vec![namespace.as_fd()];
    fds.extend(reserved.sockets.iter().map(AsFd::as_fd));
    helper::start(program, &carried, &fds)
}
