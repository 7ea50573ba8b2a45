//! Published ports: reserved by sockets that are bound and never used, and led to the container by a table of its own.
//!
//! Both go with their descriptors. A table that belongs to a socket is deleted by the kernel when the socket is closed, so a
//! port is published exactly as long as somebody holds it, and a `nft flush ruleset` of somebody else leaves it alone.
//!
//! What the kernel cannot lead, `mica-ports` carries: connections to the machine's `::1`, which leave no loopback whatever
//! rules say, and everything where packet rules are not the machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mica_engine::Kind;
use mica_engine::container::{PortSpec, Protocol};
use mica_engine::network::{Binding, Endpoint, NetworkRecord};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt};

use crate::error::{Error, Result};
use crate::nft::expression::{Side, Verdict, address_in, family_of, redirect_to, to_port, to_this_machine, verdict};
use crate::nft::{Attributes, Batch, Chain, Family, Hook, Lifetime, message};
use crate::options::Options;

/// `dstnat`.
const DESTINATION_NAT: i32 = -100;

/// The address of the machine that no packet rule leads away from.
const LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// How many ports of a container are reserved by sockets that stay open. Beyond that the monitor would run out of
/// descriptors, of which nobody asked for more; those ports are only found free when the container starts.
const RESERVED: usize = 200;

/// How long a program may take to let a port go.
const PATIENCE: Duration = Duration::from_secs(1);

/// What leads to the container what comes to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Packet rules: the sockets only hold the ports.
    Kernel,
    /// A program, which accepts what comes to the sockets.
    Program,
}

/// Ports that are this container's.
#[derive(Debug, Default)]
pub struct Reserved {
    /// What is published where.
    pub bindings: Vec<Binding>,
    /// What holds the ports that packet rules lead to the container.
    pub sockets: Vec<OwnedFd>,
    /// The ports that a program carries to it, with the sockets that it is to listen at.
    pub carried: Vec<(Binding, OwnedFd)>,
}

/// An address of the machine at which a port is to be reserved.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: IpAddr,
    /// True when a program is to listen there.
    carried: bool,
}

/// Reserves ports on the host for a container with this place in its network.
pub fn reserve(ports: &[PortSpec], network: &NetworkRecord, reach: Reach) -> Result<Reserved> {
    let ipv6 = network.ipv6().is_some();
    let binding = Options::of(network).binding.map(IpAddr::V4);
    let mut reserved = Reserved::default();
    let mut loopback = None;
    for port in ports {
        let protocol = port.container.protocol;
        let addresses = match port.address.or(binding) {
            None => {
                let both = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
                both.into_iter().take(if ipv6 { 2 } else { 1 }).collect()
            }
            Some(LOOPBACK) if protocol == Protocol::Sctp => {
                let message = "cannot publish an SCTP port at `::1`: the kernel leads nothing of its IPv6 loopback to a network, \
                               and the program that carries connections knows no SCTP; publish it at `127.0.0.1`";
                return Err(Error::refused(Kind::Unsupported, message));
            }
            Some(address) if reach == Reach::Kernel && address.is_ipv6() && address != LOOPBACK && !ipv6 => {
                return Err(Error::refused(
                    Kind::InvalidInput,
                    format!("cannot publish a port at `{address}`: network `{}` has no IPv6", network.name),
                ));
            }
            Some(address) => vec![address],
        };
        // Many ports stay without `::1`, unless they are published there: their sockets are too many.
        let few = port.address.is_some() || reserved.carried.len() < RESERVED;
        let place = |address: IpAddr| Place { address, carried: is_carried(protocol, address, reach) && few };
        let mut places: Vec<Place> = addresses.iter().copied().map(place).collect();
        // To be published everywhere means at that address too, which the network knows nothing of.
        if port.address.or(binding).is_none()
            && !ipv6
            && place(LOOPBACK).carried
            && *loopback.get_or_insert_with(has_loopback)
        {
            places.push(place(LOOPBACK));
        }
        let (number, sockets) = one_of(port, &places)?;
        let binding = |address: IpAddr| Binding { container: port.container, address, port: number };
        for (place, socket) in places.into_iter().zip(sockets) {
            if place.carried {
                reserved.carried.push((binding(place.address), socket));
            } else {
                reserved.sockets.push(socket);
            }
        }
        reserved.bindings.extend(addresses.into_iter().map(binding));
    }
    reserved.sockets.truncate(RESERVED);
    Ok(reserved)
}

/// Leads the ports to the container. They stay so as long as the returned socket is open.
pub fn lead(filter: OwnedFd, table: &str, bindings: &[Binding], endpoint: &Endpoint) -> Result<OwnedFd> {
    let mut batch = Batch::new();
    batch.table(Family::Inet, table, Lifetime::Socket);
    for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.chain(Family::Inet, table, Chain { name, kind: "nat", hook, priority: DESTINATION_NAT });
        if name == "output" {
            // What would be translated here would not leave the loopback: it is for whoever listens, which is `mica-ports`.
            let rule = [address_in(Side::Destination, LOOPBACK.into()), verdict(Verdict::Accept)].concat();
            batch.rule(Family::Inet, table, name, &rule);
        }
        for binding in bindings.iter().filter(|binding| binding.address != LOOPBACK) {
            // From outside nothing may reach what is published on loopback alone (CVE-2025-54388).
            if name == "prerouting" && binding.address.is_loopback() {
                continue;
            }
            batch.rule(Family::Inet, table, name, &rule(binding, endpoint));
        }
    }
    batch
        .commit(&filter)
        .map_err(|source| Error::Rules { operation: format!("write the packet rules `inet {table}`"), source })?;
    Ok(filter)
}

/// A socket to the packet filter of this thread's namespace.
pub fn filter() -> Result<OwnedFd> {
    message::open().map_err(|source| Error::Rules { operation: "reach the kernel's packet filter".into(), source })
}

fn rule(binding: &Binding, endpoint: &Endpoint) -> Vec<Attributes> {
    let inside = match binding.address {
        IpAddr::V4(_) => endpoint.ipv4.map(|(address, _)| IpAddr::V4(address)),
        IpAddr::V6(_) => endpoint.ipv6.map(|(address, _)| IpAddr::V6(address)),
    };
    let place = if binding.address.is_unspecified() {
        [family_of(binding.address), to_this_machine()].concat()
    } else {
        address_in(Side::Destination, IpNet::from(binding.address))
    };
    let target = redirect_to(inside.unwrap_or(binding.address), binding.container.port);
    [place, to_port(binding.container.protocol, binding.port), target].concat()
}

/// A number of those asked for that is free at all the addresses.
fn one_of(port: &PortSpec, places: &[Place]) -> Result<(u16, Vec<OwnedFd>)> {
    let (first, last) = port.host.unwrap_or((0, 0));
    let begun = Instant::now();
    loop {
        let mut met = None;
        for candidate in first..=last {
            match try_reserve(port.container.protocol, places, candidate)? {
                Attempt::Got(number, sockets) => return Ok((number, sockets)),
                Attempt::Taken(place) => met = met.or(Some(place)),
            }
        }
        // A program that carried the ports of a container until just now may still be on its way out.
        if begun.elapsed() > PATIENCE || met.is_none_or(|place| !place.carried) {
            return Err(taken(met.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |place| place.address), first, last));
        }
        std::thread::sleep(PATIENCE / 100);
    }
}

/// True where a program listens. A socket at all addresses of IPv6 gets what goes to the loopback; what goes to the others is
/// led elsewhere before it gets there.
fn is_carried(protocol: Protocol, address: IpAddr, reach: Reach) -> bool {
    let on_loopback = address == LOOPBACK || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    reach == Reach::Program || (on_loopback && protocol != Protocol::Sctp)
}

/// True where the machine has `::1`.
fn has_loopback() -> bool {
    hold(Protocol::Udp, SocketAddr::new(LOOPBACK, 0)).is_ok()
}

/// What became of a try.
enum Attempt {
    /// The port is held by these sockets.
    Got(u16, Vec<OwnedFd>),
    /// Somebody has it at this address.
    Taken(Place),
}

/// One port at all the addresses. 0 is any.
fn try_reserve(protocol: Protocol, places: &[Place], port: u16) -> Result<Attempt> {
    let mut number = port;
    let mut sockets = Vec::new();
    for place @ Place { address, carried } in places {
        match hold(protocol, SocketAddr::new(*address, number)) {
            Ok((socket, found)) => {
                if *carried && protocol == Protocol::Tcp {
                    match listen(&socket, 128) {
                        Err(Errno::ADDRINUSE) => return Ok(Attempt::Taken(*place)),
                        done => done.map_err(|errno| Error::link(format!("listen at port {number}"))(errno.into()))?,
                    }
                }
                number = found;
                sockets.push(socket);
            }
            Err(Errno::ADDRINUSE) => return Ok(Attempt::Taken(*place)),
            Err(Errno::ACCESS) => {
                let message = format!(
                    "cannot publish port {port}: only root may use ports as low as this \
                     (the kernel setting net.ipv4.ip_unprivileged_port_start)"
                );
                return Err(Error::refused(Kind::Denied, message));
            }
            Err(Errno::ADDRNOTAVAIL) => {
                let message = format!("cannot publish a port at `{address}`: this machine does not have that address");
                return Err(Error::refused(Kind::InvalidInput, message));
            }
            Err(errno) => {
                return Err(Error::link(format!("reserve port {}:{port}", shown(*address)))(errno.into()));
            }
        }
    }
    Ok(Attempt::Got(number, sockets))
}

fn hold(protocol: Protocol, address: SocketAddr) -> rustix::io::Result<(OwnedFd, u16)> {
    // Packet rules lead SCTP even where the kernel has no sockets of it. Then no program of the machine can have the port, and
    // a socket of another kind, best of one that nobody else uses, holds it against other containers.
    let (kind, numbers) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, &[None][..]),
        Protocol::Udp => (SocketType::DGRAM, &[None][..]),
        Protocol::Sctp if knows_sctp() => (SocketType::STREAM, &[Some(ipproto::SCTP)][..]),
        Protocol::Sctp => (SocketType::DGRAM, &[Some(ipproto::UDPLITE), None][..]),
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let open = || -> rustix::io::Result<OwnedFd> {
        let mut made = Err(Errno::PROTONOSUPPORT);
        for number in numbers {
            made = made.or_else(|_| socket_with(family, kind, SocketFlags::CLOEXEC, *number));
        }
        let socket = made?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        Ok(socket)
    };
    let socket = open()?;
    let socket = match bind(&socket, &address) {
        // Connections of somebody who has gone may still be winding up, and do not count; a listener does.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => {
            let socket = open()?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &address)?;
            listen(&socket, 1)?;
            socket
        }
        result => {
            result?;
            socket
        }
    };
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

/// True where the kernel has sockets of SCTP, or loads them.
fn knows_sctp() -> bool {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::SCTP)).is_ok()
}

fn taken(address: IpAddr, first: u16, last: u16) -> Error {
    let address = shown(address);
    let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let subject = if first == last { "port is" } else { "all ports are" };
    Error::refused(Kind::Conflict, format!("Bind for {address}:{ports} failed: {subject} already allocated"))
}

fn shown(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}
