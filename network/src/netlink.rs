//! Netlink sockets: requests with their acknowledgements, and lists. Which network namespace one speaks to is settled when it
//! is opened, whatever namespace the thread enters later.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};

/// A socket to the kernel's part for links, addresses and routes.
#[derive(Debug)]
pub struct RouteSocket {
    socket: OwnedFd,
}

impl RouteSocket {
    /// Opens one in the network namespace of this thread.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: open(None)? })
    }

    /// Asks for a change and waits for the answer.
    pub fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.send(&mut request)?;
        self.answers(|_| ())
    }

    /// Asks for one object.
    pub fn get(&self, message: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        self.send(&mut request)?;
        let mut found = None;
        self.answers(|answer| found = Some(answer))?;
        Ok(found)
    }

    /// Asks for all objects of a kind.
    pub fn list(&self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        self.send(&mut request)?;
        let mut found = Vec::new();
        self.answers(|answer| found.push(answer))?;
        Ok(found)
    }

    fn send(&self, message: &mut NetlinkMessage<RouteNetlinkMessage>) -> io::Result<()> {
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Hands on objects until the acknowledgement, or the end of a list.
    fn answers(&self, mut take: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let (_, length) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                let taken = (message.header.length as usize).next_multiple_of(4).max(4);
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return error.code.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(-code.get())));
                    }
                    NetlinkPayload::InnerMessage(message) => take(message),
                    _ => {}
                }
                rest = rest.get(taken..).unwrap_or_default();
            }
        }
    }
}

/// Opens a netlink socket of a family in the network namespace of this thread; `None` is that of links and routes, whose
/// number is 0.
pub fn open(family: Option<rustix::net::Protocol>) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, family)?)
}
