//! Receiving the request and the sockets that come with it.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use mica_network::serve::Names;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// What this process serves.
#[derive(Debug)]
pub struct Request {
    /// What it was told.
    pub names: Names,
    /// Datagrams of the container.
    pub udp: UdpSocket,
    /// Connections of the container.
    pub tcp: TcpListener,
    /// What says, by becoming readable, that it is over.
    pub life: OwnedFd,
}

/// Waits for the request.
pub fn request() -> io::Result<Request> {
    let stdin = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let mut text = Vec::new();
    let mut fds = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    while !text.ends_with(b"\n") {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&stdin, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })?;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                fds.extend(descriptors);
            }
        }
        if message.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend(&buffer[..message.bytes]);
    }
    let mut fds = fds.into_iter();
    let (Some(udp), Some(tcp)) = (fds.next(), fds.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(Request {
        names: serde_json::from_slice(&text)?,
        udp: udp.into(),
        tcp: tcp.into(),
        life: fds.next().unwrap_or(stdin),
    })
}
