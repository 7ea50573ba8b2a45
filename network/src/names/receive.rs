//! Receiving the request and the sockets that come with it.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use mica_network::helper;
use mica_network::serve::Names;

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
    let told = helper::receive()?;
    let mut fds = told.fds.into_iter();
    let (Some(udp), Some(tcp)) = (fds.next(), fds.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(Request { names: told.request, udp: udp.into(), tcp: tcp.into(), life: fds.next().unwrap_or(told.line) })
}
