//! Datagrams: each sender has a socket to the container, on which the answers come back, until both are silent for a while.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a sender is remembered without a datagram in either direction.
const SILENCE: Duration = Duration::from_secs(90);

/// The most senders that are remembered at once; those beyond have to wait until one was silent.
const SENDERS: usize = 512;

/// The most that one datagram holds.
const DATAGRAM: usize = 64 << 10;

/// Datagrams of one sender that wait for the container. More are lost, as with any full buffer.
const WAITING: usize = 64;

/// Carries until the task is dropped.
pub async fn carry(socket: UdpSocket, to: SocketAddr) {
    let socket = Arc::new(socket);
    let mut senders: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error is an answer of somebody who has gone, and the next datagram another's.
        let Ok((length, sender)) = socket.recv_from(&mut buffer).await else { continue };
        let datagram = buffer[..length].to_vec();
        if let Some(known) = senders.get(&sender)
            && !known.is_closed()
        {
            let _ = known.try_send(datagram);
            continue;
        }
        senders.retain(|_, known| !known.is_closed());
        if senders.len() >= SENDERS {
            continue;
        }
        let (queue, waiting) = mpsc::channel(WAITING);
        let _ = queue.try_send(datagram);
        senders.insert(sender, queue);
        tokio::spawn(converse(Arc::clone(&socket), sender, to, waiting));
    }
}

/// Carries the datagrams of one sender and the answers to them, until there are none for a while.
async fn converse(
    socket: Arc<UdpSocket>,
    sender: SocketAddr,
    to: SocketAddr,
    mut waiting: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let container = UdpSocket::bind(any).await?;
    container.connect(to).await?;
    let mut buffer = vec![0; DATAGRAM];
    let both = async |waiting: &mut mpsc::Receiver<Vec<u8>>, buffer: &mut Vec<u8>| -> io::Result<bool> {
        tokio::select! {
            datagram = waiting.recv() => match datagram {
                Some(datagram) => { container.send(&datagram).await.ok(); Ok(true) }
                None => Ok(false),
            },
            answer = container.recv(buffer) => {
                let length = answer?;
                socket.send_to(&buffer[..length], sender).await?;
                Ok(true)
            }
        }
    };
    while let Ok(Ok(true)) = timeout(SILENCE, both(&mut waiting, &mut buffer)).await {}
    Ok(())
}
