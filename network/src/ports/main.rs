//! mica-ports: carries what comes to a container's published ports where packet rules cannot lead it: into the network
//! namespace of a user without privileges, and away from the machine's `::1`.
//!
//! Its standard input brings the namespace that containers are reached from and the sockets, and a line that says where each leads. It ends when the other end
//! of that input is closed. Of what it does not do: containers see its address and not that of whoever called, as with
//! every port that a program carries.

mod datagrams;
mod streams;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use mica_engine::container::Protocol;
use mica_network::carry::Carried;
use mica_network::helper::{self, Told};

fn main() -> ExitCode {
    // Whoever starts a container may close its terminal long before the container ends.
    let _ = rustix::process::setsid();
    match helper::receive().and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(told: Told<Vec<Carried>>) -> io::Result<()> {
    let mut fds = told.fds.into_iter();
    let namespace = fds.next().ok_or(io::ErrorKind::InvalidData)?;
    // The sockets stay in the machine's network; those that are opened from here on are in that one.
    nix::sched::setns(namespace.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET)?;
    let ports: Vec<(Carried, OwnedFd)> = told.request.into_iter().zip(fds).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for (carried, socket) in ports {
            match carried.protocol {
                Protocol::Tcp => {
                    let listener = TcpListener::from(socket);
                    listener.set_nonblocking(true)?;
                    tokio::spawn(streams::carry(tokio::net::TcpListener::from_std(listener)?, carried.to));
                }
                Protocol::Udp | Protocol::Sctp => {
                    let socket = UdpSocket::from(socket);
                    socket.set_nonblocking(true)?;
                    tokio::spawn(datagrams::carry(tokio::net::UdpSocket::from_std(socket)?, carried.to));
                }
            }
        }
        let line = UnixStream::from(told.line);
        line.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(line)?.readable().await
    })
}
