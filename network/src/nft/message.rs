//! The bytes of nftables requests: a batch of messages made of attributes (`linux/netfilter/nf_tables.h`, `nfnetlink.h`).
//!
//! Written here because no crate that can be used has all of it: see docs/networks.md.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, netlink, recv, send};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// `NFT_MSG_*`.
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;

/// `NFT_TABLE_F_OWNER`: the table belongs to the socket that made it, and goes when the last descriptor of it is closed.
const OWNED: u32 = 2;

/// A family of tables (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ipv4 = 2,
}

/// A point in a packet's way (`NF_INET_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// Before the route is chosen.
    Prerouting = 0,
    /// On the way through.
    Forward = 2,
    /// From this machine.
    Output = 3,
    /// After the route was chosen.
    Postrouting = 4,
}

/// A base chain.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// `filter` or `nat`.
    pub kind: &'a str,
    /// Where it hooks in.
    pub hook: Hook,
    /// Before or after others.
    pub priority: i32,
}

/// Whether a table outlives the socket that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It does.
    Persistent,
    /// It goes with the socket.
    Socket,
}

/// Attributes, one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Appends bytes.
    #[must_use]
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends a number in network order.
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends a string.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Appends attributes inside one.
    #[must_use]
    pub fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }
}

/// Changes that take effect together or not at all.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    last: usize,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(4096), last: 0 };
        batch.message(BATCH_BEGIN, 0, 0, SUBSYSTEM, &Attributes::default());
        batch
    }

    /// Makes a table unless it is there.
    pub fn table(&mut self, family: Family, name: &str, lifetime: Lifetime) {
        let flags = if lifetime == Lifetime::Socket { OWNED } else { 0 };
        let attributes = Attributes::default().text(1, name).number(2, flags);
        self.change(NEW_TABLE, NLM_F_CREATE, family, &attributes);
    }

    /// Takes a table away, which must be there.
    pub fn delete_table(&mut self, family: Family, name: &str) {
        self.change(DELETE_TABLE, 0, family, &Attributes::default().text(1, name));
    }

    /// Makes a base chain that accepts what no rule of it decides.
    pub fn chain(&mut self, family: Family, table: &str, chain: Chain<'_>) {
        const ACCEPT: u32 = 1;
        let hook = Attributes::default().number(1, chain.hook as u32).bytes(2, &chain.priority.to_be_bytes());
        let attributes = Attributes::default()
            .text(1, table)
            .text(3, chain.name)
            .nested(4, &hook)
            .number(5, ACCEPT)
            .text(7, chain.kind);
        self.change(NEW_CHAIN, NLM_F_CREATE, family, &attributes);
    }

    /// Appends a rule to a chain.
    pub fn rule(&mut self, family: Family, table: &str, chain: &str, expressions: &[Attributes]) {
        let list = expressions.iter().fold(Attributes::default(), |list, expression| list.nested(1, expression));
        let attributes = Attributes::default().text(1, table).text(2, chain).nested(4, &list);
        self.change(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, family, &attributes);
    }

    /// Sends everything and waits for the kernel's verdict.
    pub fn commit(mut self, socket: impl AsFd) -> io::Result<()> {
        // The acknowledgement of the last change comes after every error.
        let at = self.last + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | NLM_F_ACK;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        self.message(BATCH_END, 0, 0, SUBSYSTEM, &Attributes::default());
        send(&socket, &self.bytes, SendFlags::empty())?;
        // The kernel has answered when the call returns, so there is nothing to wait for.
        let mut verdict = Ok(());
        let mut buffer = vec![0; 16 << 10];
        loop {
            let length = match recv(&socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN) => return verdict,
                Err(errno) => return Err(errno.into()),
            };
            if let (Ok(()), Some(code)) = (&verdict, error_in(&buffer[..length])) {
                verdict = Err(io::Error::from_raw_os_error(code));
            }
        }
    }

    fn change(&mut self, kind: u16, flags: u16, family: Family, attributes: &Attributes) {
        self.last = self.bytes.len();
        self.message(SUBSYSTEM << 8 | kind, flags, family as u8, 0, attributes);
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &Attributes) {
        put(&mut self.bytes, kind, flags, family, resource, attributes);
    }
}

/// Opens a socket to the kernel's packet filter in the network namespace of this thread.
pub fn open() -> io::Result<OwnedFd> {
    crate::netlink::open(Some(netlink::NETFILTER))
}

/// True when a table is there.
pub fn has_table(socket: impl AsFd, family: Family, name: &str) -> io::Result<bool> {
    let mut bytes = Vec::new();
    let attributes = Attributes::default().text(1, name);
    put(&mut bytes, SUBSYSTEM << 8 | GET_TABLE, 0, family as u8, 0, &attributes);
    send(&socket, &bytes, SendFlags::empty())?;
    let mut buffer = vec![0; 4 << 10];
    let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
    match error_in(&buffer[..length]) {
        None => Ok(true),
        Some(code) if code == Errno::NOENT.raw_os_error() => Ok(false),
        Some(code) => Err(io::Error::from_raw_os_error(code)),
    }
}

fn put(bytes: &mut Vec<u8>, kind: u16, flags: u16, family: u8, resource: u16, attributes: &Attributes) {
    let length = (16 + 4 + attributes.0.len()) as u32;
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(&attributes.0);
}

/// The first error in what the kernel answered.
fn error_in(mut answer: &[u8]) -> Option<i32> {
    while let Some(header) = answer.get(..16) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if kind == NLMSG_ERROR {
            let code = answer.get(16..20)?;
            let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
            if code != 0 {
                return Some(-code);
            }
        }
        answer = answer.get(length.next_multiple_of(4).max(16)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let inner = Attributes::default().text(1, "ab");
        assert_eq!(inner.0, [7, 0, 1, 0, b'a', b'b', 0, 0]);
        let outer = Attributes::default().nested(4, &inner).number(2, 1);
        assert_eq!(outer.0[..4], [12, 0, 4, 0x80]);
        assert_eq!(outer.0[12..], [8, 0, 2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn errors_are_found_behind_acknowledgements() {
        let message = |code: i32| {
            let mut bytes = Vec::new();
            bytes.extend(36u32.to_ne_bytes());
            bytes.extend(NLMSG_ERROR.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes.extend([0; 16]);
            bytes
        };
        assert_eq!(error_in(&message(0)), None);
        assert_eq!(error_in(&[message(0), message(-2)].concat()), Some(2));
        assert_eq!(error_in(&[1, 2, 3]), None);
    }
}
