//! The expressions of rules, one function each. A rule holds when every one of its expressions does, from left to right.

use std::net::IpAddr;

use ipnet::IpNet;
use mica_engine::container::Protocol;

use super::message::{Attributes, Family};

/// `NFT_REG_1` and `NFT_REG_2`, sixteen bytes each.
const FIRST: u32 = 1;
const SECOND: u32 = 2;
/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// How a register is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Is {
    /// The same.
    Equal = 0,
    /// Another.
    Not = 1,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// It goes no further.
    Drop = 0,
    /// This chain has nothing against it.
    Accept = 1,
}

/// Which side of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Ends a rule.
pub fn verdict(verdict: Verdict) -> Vec<Attributes> {
    let code = Attributes::default().number(1, verdict as u32);
    let data = Attributes::default().nested(2, &code);
    vec![named("immediate", &Attributes::default().number(1, VERDICT).nested(2, &data))]
}

/// The packet came in through an interface.
pub fn came_through(interface: &str, is: Is) -> Vec<Attributes> {
    const IIFNAME: u32 = 6;
    vec![meta(IIFNAME), compare(is, &name(interface))]
}

/// The packet leaves through an interface.
pub fn leaves_through(interface: &str, is: Is) -> Vec<Attributes> {
    const OIFNAME: u32 = 7;
    vec![meta(OIFNAME), compare(is, &name(interface))]
}

/// The packet is of IPv4 or of IPv6.
pub fn family_of(address: IpAddr) -> Vec<Attributes> {
    const NFPROTO: u32 = 15;
    const IPV4: u8 = 2;
    const IPV6: u8 = 10;
    vec![meta(NFPROTO), compare(Is::Equal, &[if address.is_ipv4() { IPV4 } else { IPV6 }])]
}

/// An address of the packet is in a network. Says the family too.
pub fn address_in(side: Side, net: IpNet) -> Vec<Attributes> {
    let (offset, address, mask) = match net {
        IpNet::V4(net) => {
            let offset = if side == Side::Source { 12 } else { 16 };
            (offset, net.network().octets().to_vec(), net.netmask().octets().to_vec())
        }
        IpNet::V6(net) => {
            let offset = if side == Side::Source { 8 } else { 24 };
            (offset, net.network().octets().to_vec(), net.netmask().octets().to_vec())
        }
    };
    let length = address.len() as u32;
    let value = |bytes: &[u8]| Attributes::default().bytes(1, bytes);
    let mut expressions = family_of(net.addr());
    expressions.push(payload(1, offset, length));
    expressions.push(named(
        "bitwise",
        &Attributes::default()
            .number(1, FIRST)
            .number(2, FIRST)
            .number(3, length)
            .nested(4, &value(&mask))
            .nested(5, &value(&vec![0; address.len()])),
    ));
    expressions.push(compare(Is::Equal, &address));
    expressions
}

/// The packet goes to a port.
pub fn to_port(protocol: Protocol, port: u16) -> Vec<Attributes> {
    const L4PROTO: u32 = 16;
    let number = match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    };
    vec![meta(L4PROTO), compare(Is::Equal, &[number]), payload(2, 2, 2), compare(Is::Equal, &port.to_be_bytes())]
}

/// The packet goes to an address of this machine.
pub fn to_this_machine() -> Vec<Attributes> {
    const RESULT_ADDRTYPE: u32 = 3;
    const DADDR: u32 = 2;
    /// `RTN_LOCAL`.
    const LOCAL: u32 = 2;
    let fib = Attributes::default().number(1, FIRST).number(2, RESULT_ADDRTYPE).number(3, DADDR);
    vec![named("fib", &fib), compare(Is::Equal, &LOCAL.to_ne_bytes())]
}

/// The packet belongs to a connection that was let through before.
pub fn is_answer() -> Vec<Attributes> {
    const STATE: u32 = 0;
    /// `NF_CT_STATE_BIT` of `IP_CT_ESTABLISHED` and `IP_CT_RELATED`.
    const KNOWN: u32 = 1 << 1 | 1 << 2;
    any_bit_of_connection(STATE, KNOWN)
}

/// The packet belongs to no connection that could be (`NF_CT_STATE_INVALID_BIT`).
pub fn is_stray() -> Vec<Attributes> {
    any_bit_of_connection(0, 1)
}

/// The packet's destination was changed by a published port.
pub fn is_published() -> Vec<Attributes> {
    const STATUS: u32 = 2;
    /// `IPS_DST_NAT`.
    const DST_NAT: u32 = 1 << 5;
    any_bit_of_connection(STATUS, DST_NAT)
}

/// Gives the packet the address of the interface it leaves through.
pub fn masquerade() -> Vec<Attributes> {
    vec![named("masq", &Attributes::default())]
}

/// Sends the packet elsewhere.
pub fn redirect_to(address: IpAddr, port: u16) -> Vec<Attributes> {
    const DNAT: u32 = 1;
    let (family, bytes) = match address {
        IpAddr::V4(address) => (u32::from(Family::Ipv4 as u8), address.octets().to_vec()),
        IpAddr::V6(address) => (10, address.octets().to_vec()),
    };
    let nat = Attributes::default().number(1, DNAT).number(2, family).number(3, FIRST).number(5, SECOND);
    vec![load(FIRST, &bytes), load(SECOND, &port.to_be_bytes()), named("nat", &nat)]
}

fn any_bit_of_connection(key: u32, bits: u32) -> Vec<Attributes> {
    let value = |number: u32| Attributes::default().bytes(1, &number.to_ne_bytes());
    vec![
        named("ct", &Attributes::default().number(1, FIRST).number(2, key)),
        named(
            "bitwise",
            &Attributes::default()
                .number(1, FIRST)
                .number(2, FIRST)
                .number(3, 4)
                .nested(4, &value(bits))
                .nested(5, &value(0)),
        ),
        compare(Is::Not, &0u32.to_ne_bytes()),
    ]
}

fn meta(key: u32) -> Attributes {
    named("meta", &Attributes::default().number(1, FIRST).number(2, key))
}

fn payload(base: u32, offset: u32, length: u32) -> Attributes {
    named("payload", &Attributes::default().number(1, FIRST).number(2, base).number(3, offset).number(4, length))
}

fn compare(is: Is, value: &[u8]) -> Attributes {
    let data = Attributes::default().bytes(1, value);
    named("cmp", &Attributes::default().number(1, FIRST).number(2, is as u32).nested(3, &data))
}

fn load(register: u32, value: &[u8]) -> Attributes {
    let data = Attributes::default().bytes(1, value);
    named("immediate", &Attributes::default().number(1, register).nested(2, &data))
}

fn named(name: &str, data: &Attributes) -> Attributes {
    Attributes::default().text(1, name).nested(2, data)
}

/// An interface's name as the kernel compares it, with the zeros behind it.
fn name(interface: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = interface.len().min(15);
    bytes[..length].copy_from_slice(&interface.as_bytes()[..length]);
    bytes
}
