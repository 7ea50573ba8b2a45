//! Ports that a program carries to a container: starting `mica-ports`, and what it is told.
//!
//! It carries what packet rules cannot lead: for a user without privileges everything that comes from the machine's network
//! into the user's, and for root what goes to the machine's `::1`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mica_engine::Kind;
use mica_engine::container::Protocol;
use mica_engine::network::{Binding, Endpoint};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::helper;

/// A port that is carried to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// What comes through it.
    pub protocol: Protocol,
    /// Where it goes.
    pub to: SocketAddr,
}

/// Starts carrying what comes to reserved ports to a container that is reached from a network namespace. It goes on as long as
/// the returned descriptor is open.
pub fn carry(
    program: &Path,
    namespace: BorrowedFd<'_>,
    ports: &[(Binding, OwnedFd)],
    endpoint: &Endpoint,
) -> Result<OwnedFd> {
    let to = |address: IpAddr| match endpoint.ipv6 {
        Some((inside, _)) if address.is_ipv6() => Some(inside.into()),
        // The machine's IPv6 leads to a container that has none.
        _ => endpoint.ipv4.map(|(inside, _)| IpAddr::V4(inside)),
    };
    let carried = ports.iter().map(|(binding, _)| match (binding.container.protocol, to(binding.address)) {
        (Protocol::Sctp, _) => {
            Err(Error::refused(Kind::Unsupported, "SCTP ports cannot be published without privileges"))
        }
        (_, None) => Err(Error::refused(Kind::Internal, "a container without an address")),
        (protocol, Some(to)) => Ok(Carried { protocol, to: SocketAddr::new(to, binding.container.port) }),
    });
    let carried = carried.collect::<Result<Vec<_>>>()?;
    let mut fds = vec![namespace];
    fds.extend(ports.iter().map(|(_, socket)| socket.as_fd()));
    helper::start(program, &carried, &fds)
}
