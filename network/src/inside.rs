//! The container's side: a network namespace made by a thread that lives for nothing else, and what is configured in it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mica_engine::Kind;
use mica_engine::network::{Endpoint, NetworkDriver};
use netlink_packet_route::link::MacVlanMode;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use rustix::thread::LinkNameSpaceType;

use crate::error::{Error, Result};
use crate::host::{Kernel, Up, set};
use crate::link;
use crate::netlink::RouteSocket;
use crate::nft::expression::{Side, address_in, redirect_to, to_port};
use crate::nft::{Batch, Chain, Family, Hook, Lifetime};
use crate::options::Options;
use crate::publish;

/// Where containers find their name server.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Runs work on a thread of its own, whose network namespace it may change.
pub async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let gone = || Error::refused(Kind::Internal, "the thread that configures a network died");
    let (done, waiting) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("network".into()).spawn(move || done.send(work())).map_err(|_| gone())?;
    waiting.await.unwrap_or_else(|_| Err(gone()))
}

/// Puts this thread into a network namespace of a container, a new one where none was made for it, and brings `lo` up.
pub fn begin(made: Option<OwnedFd>) -> Result<(OwnedFd, RouteSocket)> {
    let (namespace, socket) = match made {
        Some(namespace) => {
            let socket = enter(namespace.as_fd())?;
            (namespace, socket)
        }
        None => {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .map_err(|errno| Error::link("make a network namespace")(errno.into()))?;
            let namespace = open_namespace(Path::new("/proc/thread-self/ns/net"))?;
            (namespace, RouteSocket::open().map_err(Error::link("reach the kernel's links in a container"))?)
        }
    };
    link::bring_up(&socket, link::LOOPBACK).map_err(Error::link("bring up the loopback of a container"))?;
    Ok((namespace, socket))
}

/// Puts this thread into a network namespace that is there.
pub fn enter(namespace: BorrowedFd<'_>) -> Result<RouteSocket> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::link("enter the network namespace of a container")(errno.into()))?;
    RouteSocket::open().map_err(Error::link("reach the kernel's links in a container"))
}

/// A handle on a network namespace.
pub fn open_namespace(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", path)(errno.into()))
}

/// Connects a namespace to a network: the interface, its addresses, and with `routes` the default ones.
pub fn connect(
    outside: &Kernel,
    inside: &RouteSocket,
    namespace: BorrowedFd<'_>,
    up: &Up,
    endpoint: &Endpoint,
    routes: Routes,
) -> Result<()> {
    let context = || format!("connect a container to network `{}`", endpoint.network);
    let mac = octets(&endpoint.mac);
    let name = &endpoint.interface;
    match up.record.driver {
        NetworkDriver::Bridge => {
            let outside_name = outside_name(endpoint);
            let pair = link::Pair {
                outside: &outside_name,
                bridge: up.link.index,
                inside: name,
                namespace,
                mac,
                mtu: Options::of(&up.record).mtu.or(up.link.mtu),
            };
            link::add_pair(&outside.route, &pair).map_err(Error::link(context()))?;
        }
        NetworkDriver::Macvlan => {
            let mode = match Options::of(&up.record).mode.as_deref() {
                Some("private") => MacVlanMode::Private,
                Some("vepa") => MacVlanMode::Vepa,
                Some("passthru") => MacVlanMode::Passthrough,
                _ => MacVlanMode::Bridge,
            };
            link::add_macvlan(&outside.route, up.link.index, mode, name, mac, namespace)
                .map_err(Error::link(context()))?;
        }
    }
    let index = link::find(inside, name)
        .map_err(Error::link(context()))?
        .ok_or_else(|| Error::refused(Kind::Internal, format!("interface `{name}` is not in its container")))?
        .index;
    let conf = |key: &str| std::path::PathBuf::from(format!("/proc/sys/net/ipv6/conf/{name}/{key}"));
    // No IPv6 without asking (CVE-2024-32473), and no neighbour tells a container where to route (CVE-2020-13401).
    if endpoint.ipv6.is_some() {
        set(&conf("accept_ra"), "0")?;
    } else {
        set(&conf("disable_ipv6"), "1")?;
    }
    let ipv4 = endpoint.ipv4.map(|(address, prefix)| (IpAddr::V4(address), prefix));
    let ipv6 = endpoint.ipv6.map(|(address, prefix)| (IpAddr::V6(address), prefix));
    for (address, prefix) in ipv4.into_iter().chain(ipv6) {
        link::add_address(inside, index, address, prefix).map_err(Error::link(context()))?;
    }
    link::bring_up(inside, index).map_err(Error::link(context()))?;
    if routes == Routes::Default {
        let gateways = endpoint.gateway.map(IpAddr::V4).into_iter().chain(endpoint.gateway6.map(IpAddr::V6));
        for gateway in gateways {
            link::add_default_route(inside, gateway).map_err(Error::link(context()))?;
        }
    }
    Ok(())
}

/// Makes sure that there is a way to everything: through the first of these places that leads anywhere, unless there is another.
pub fn lead_out(inside: &RouteSocket, places: &[Endpoint]) -> Result<()> {
    let ipv4 = places.iter().find_map(|place| place.gateway).map(IpAddr::V4);
    let ipv6 = places.iter().find_map(|place| place.gateway6).map(IpAddr::V6);
    for gateway in ipv4.into_iter().chain(ipv6) {
        match link::add_default_route(inside, gateway) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            added => added.map_err(Error::link("lead a container's packets out through another network"))?,
        }
    }
    Ok(())
}

/// Lets a container reach itself through its published ports.
pub fn allow_hairpin(outside: &Kernel, endpoint: &Endpoint) -> Result<()> {
    link::allow_hairpin(&outside.route, &outside_name(endpoint))
        .map_err(Error::link("let a container reach its own published ports"))
}

/// Which routes an interface brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routes {
    /// The way to everything.
    Default,
    /// The way to its own network.
    Own,
}

/// Sockets of a name server in a container.
#[derive(Debug)]
pub struct NameSockets {
    /// Datagrams.
    pub udp: OwnedFd,
    /// Connections.
    pub tcp: OwnedFd,
}

/// Opens the name server's sockets in the namespace of this thread. They listen at any port, to which what goes to port 53 is
/// led: containers may run name servers of their own on every address.
pub fn name_sockets() -> Result<NameSockets> {
    let context = || "open a name server in a container".to_owned();
    let open = |kind: SocketType| -> rustix::io::Result<(OwnedFd, u16)> {
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &std::net::SocketAddrV4::new(NAME_SERVER, 0))?;
        if kind == SocketType::STREAM {
            listen(&socket, 32)?;
        }
        let port = std::net::SocketAddr::try_from(getsockname(&socket)?)?.port();
        Ok((socket, port))
    };
    let fail = |errno: rustix::io::Errno| Error::link(context())(errno.into());
    let (udp, udp_port) = open(SocketType::DGRAM).map_err(fail)?;
    let (tcp, tcp_port) = open(SocketType::STREAM).map_err(fail)?;
    let mut batch = Batch::new();
    const TABLE: &str = "mica-names";
    batch.table(Family::Ipv4, TABLE, Lifetime::Persistent);
    batch.chain(Family::Ipv4, TABLE, Chain { name: "output", kind: "nat", hook: Hook::Output, priority: -100 });
    for (protocol, port) in
        [(mica_engine::container::Protocol::Udp, udp_port), (mica_engine::container::Protocol::Tcp, tcp_port)]
    {
        let place = address_in(Side::Destination, IpAddr::V4(NAME_SERVER).into());
        let rule = [place, to_port(protocol, 53), redirect_to(NAME_SERVER.into(), port)].concat();
        batch.rule(Family::Ipv4, TABLE, "output", &rule);
    }
    batch.commit(publish::filter()?.as_fd()).map_err(|source| Error::Rules { operation: context(), source })?;
    Ok(NameSockets { udp, tcp })
}

/// The name of the host's end of a container's place.
pub fn outside_name(endpoint: &Endpoint) -> String {
    format!("veth{}", endpoint.id.get(..8).unwrap_or(&endpoint.id))
}

fn octets(mac: &str) -> [u8; 6] {
    let mut octets = [0; 6];
    for (octet, digits) in octets.iter_mut().zip(mac.split(':')) {
        *octet = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    octets
}
