//! Connections: each is connected to the container, and copied in both directions until both have ended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// The pause after an error that the next attempt would meet too, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// How much of a connection is in memory, in bytes for each direction.
const BUFFER: usize = 64 << 10;

/// Carries until the task is dropped.
pub async fn carry(listener: TcpListener, to: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(connect(client, to))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connect(mut client: TcpStream, to: SocketAddr) {
    // A container in which nobody listens refuses: the client sees its connection end.
    let Ok(mut container) = TcpStream::connect(to).await else { return };
    let _ = client.set_nodelay(true);
    let _ = container.set_nodelay(true);
    let _ = copy_bidirectional_with_sizes(&mut client, &mut container, BUFFER, BUFFER).await;
}
