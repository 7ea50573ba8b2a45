//! Interfaces, addresses and routes, as single requests to the kernel.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::RouteSocket;

/// The index of `lo` in every namespace.
pub const LOOPBACK: u32 = 1;

/// Makes a bridge and returns its index. One that is there is an error. Without a link address of its own it would take one
/// of its containers', and change it with them.
pub fn add_bridge(socket: &RouteSocket, name: &str, mac: [u8; 6], mtu: Option<u32>) -> io::Result<u32> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    // A bridge that waits for others to speak its spanning tree would hold every container up for half a minute.
    let data = InfoData::Bridge(vec![InfoBridge::StpState(0u32.into()), InfoBridge::ForwardDelay(0)]);
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(data)]));
    socket.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?;
    find(socket, name)?.map(|link| link.index).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Takes an interface away.
pub fn remove(socket: &RouteSocket, index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    socket.request(RouteNetlinkMessage::DelLink(message), 0)
}

/// Brings an interface up.
pub fn bring_up(socket: &RouteSocket, index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    socket.request(RouteNetlinkMessage::SetLink(message), 0)
}

/// A pair of interfaces: one on a bridge of the host, one in a container.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The name of the host's end.
    pub outside: &'a str,
    /// The bridge it is put on.
    pub bridge: u32,
    /// The name of the container's end.
    pub inside: &'a str,
    /// The container's namespace.
    pub namespace: BorrowedFd<'a>,
    /// The link address of the container's end.
    pub mac: [u8; 6],
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
}

/// Makes a pair in one request. The host's end is up at once; the other one is up when the container's side says so.
pub fn add_pair(socket: &RouteSocket, pair: &Pair<'_>) -> io::Result<()> {
    let mut inside = LinkMessage::default();
    inside.attributes.push(LinkAttribute::IfName(pair.inside.to_owned()));
    inside.attributes.push(LinkAttribute::Address(pair.mac.to_vec()));
    inside.attributes.push(LinkAttribute::NetNsFd(pair.namespace.as_raw_fd()));
    inside.attributes.extend(pair.mtu.map(LinkAttribute::Mtu));
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfName(pair.outside.to_owned()));
    message.attributes.push(LinkAttribute::Controller(pair.bridge));
    message.attributes.extend(pair.mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
    ]));
    socket.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Lets a bridge send packets back through the end of a pair that they came from: so a container reaches itself through a
/// port that is published on the host (`br_netfilter` makes such packets the bridge's business).
pub fn allow_hairpin(socket: &RouteSocket, outside: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(outside.to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
    ]));
    socket.request(RouteNetlinkMessage::NewLink(message), 0)
}

/// Makes an interface of a container's own on one of the host's.
pub fn add_macvlan(
    socket: &RouteSocket,
    parent: u32,
    mode: MacVlanMode,
    inside: &str,
    mac: [u8; 6],
    namespace: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(inside.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    message.attributes.push(LinkAttribute::Link(parent));
    message.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::MacVlan),
        LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
    ]));
    socket.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Gives an interface an address. Nobody else can have it, so IPv6 does not ask around first.
pub fn add_address(socket: &RouteSocket, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.header.family = family(address);
    message.attributes.push(AddressAttribute::Address(address));
    message.attributes.push(AddressAttribute::Local(address));
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            message.attributes.push(AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(address) | host)));
        }
        IpAddr::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    socket.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Leads everything that is not on a link through a router.
pub fn add_default_route(socket: &RouteSocket, gateway: IpAddr) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Gateway(match gateway {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }));
    socket.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
}

/// Looks an interface up by its name.
pub fn find(socket: &RouteSocket, name: &str) -> io::Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    look_up(socket, message)
}

/// Looks an interface up by its number.
pub fn by_index(socket: &RouteSocket, index: u32) -> io::Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    look_up(socket, message)
}

/// The routes of this machine: what they lead to, and the interface of the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Destinations; the default route has none.
    pub destinations: Vec<IpNet>,
    /// The interface that leads to the rest of the world.
    pub default: Option<u32>,
}

/// Reads the routes of both families.
pub fn routes(socket: &RouteSocket) -> io::Result<Routes> {
    let mut routes = Routes::default();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        for answer in socket.list(RouteNetlinkMessage::GetRoute(message))? {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                note(&mut routes, &route);
            }
        }
    }
    Ok(routes)
}

fn note(routes: &mut Routes, route: &RouteMessage) {
    if route.header.table != RouteHeader::RT_TABLE_MAIN || route.header.kind != RouteType::Unicast {
        return;
    }
    let mut destination = None;
    let mut interface = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(IpAddr::V4(*address)),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = Some(IpAddr::V6(*address)),
            RouteAttribute::Oif(index) => interface = Some(*index),
            _ => {}
        }
    }
    let prefix = route.header.destination_prefix_length;
    match destination {
        Some(address) => routes.destinations.extend(IpNet::new(address, prefix).ok()),
        None if prefix == 0 && route.header.address_family == AddressFamily::Inet => {
            routes.default = routes.default.or(interface);
        }
        None => {}
    }
}

fn look_up(socket: &RouteSocket, message: LinkMessage) -> io::Result<Option<Link>> {
    match socket.get(RouteNetlinkMessage::GetLink(message)) {
        Ok(Some(RouteNetlinkMessage::NewLink(link))) => {
            let mtu = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(*mtu),
                _ => None,
            });
            Ok(Some(Link { index: link.header.index, mtu }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A link address from an IPv4 address, so that whoever gets an address again is found by those who remember it.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// The address with the same host number in an IPv6 subnet.
pub fn same_host(ipv6: ipnet::Ipv6Net, ipv4: ipnet::Ipv4Net, address: Ipv4Addr) -> Ipv6Addr {
    let host = u32::from(address) & u32::from(ipv4.hostmask());
    Ipv6Addr::from(u128::from(ipv6.network()) | u128::from(host))
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_link_and_ipv6_addresses() {
        let address = "172.18.3.4".parse().unwrap();
        assert_eq!(mac_of(address), [2, 0x42, 172, 18, 3, 4]);
        let ipv6 = same_host("fd00:1::/64".parse().unwrap(), "172.18.0.0/16".parse().unwrap(), address);
        assert_eq!(ipv6.to_string(), "fd00:1::304");
    }
}
