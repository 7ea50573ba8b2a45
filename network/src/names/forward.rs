//! Asking others: the host's name servers, or those that the container was given, one after the other.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use mica_network::resolvers;
use mica_network::serve::Names;

/// How long one name server may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many of them are asked (resolv.conf(5), MAXNS).
const SERVERS: usize = 3;
/// The port of name servers.
const PORT: u16 = 53;

/// How a question came and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Datagram,
    /// TCP.
    Stream,
}

/// The first answer of a name server.
pub fn ask(names: &Names, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let servers = if names.upstream.is_empty() { resolvers::of_host() } else { names.upstream.clone() };
    let mut answers = servers.into_iter().take(SERVERS).filter_map(|server| {
        let server = SocketAddr::new(server, PORT);
        match transport {
            Transport::Datagram => by_datagram(server, question).ok(),
            Transport::Stream => by_stream(server, question).ok(),
        }
    });
    answers.next()
}

fn by_datagram(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A socket of its own for each question, at a port that nobody can guess, connected, so that only that server is heard.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = socket.recv(&mut buffer)?;
        if buffer[..length].get(..2) == question.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

fn by_stream(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
