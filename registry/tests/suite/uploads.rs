//! Uploads over connections that break.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mica_engine::registry::Registry as _;
use mica_engine::{Kind, Reference};
use mica_layer::Digest;
use mica_registry::HttpRegistry;

use super::client::noise;
use super::registry::Server;

/// Passes everything on to a server, and cuts connections that have brought so many bytes, as often as said.
struct Cutter {
    host: String,
    cuts: Arc<AtomicU32>,
}

impl Cutter {
    fn before(server: &Server, after: u64, cuts: u32) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let left = Arc::new(AtomicU32::new(cuts));
        let (port, cuts) = (server.port, Arc::clone(&left));
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut &from_server, &mut &to_client);
                    let _ = to_client.shutdown(std::net::Shutdown::Both);
                });
                let left = Arc::clone(&left);
                std::thread::spawn(move || {
                    let brought = std::io::copy(&mut (&client).take(after), &mut &server);
                    let one_less = |left: u32| left.checked_sub(1);
                    let all = brought.is_ok_and(|brought| brought == after);
                    if !all || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
                        let _ = std::io::copy(&mut &client, &mut &server);
                    }
                    let _ = server.shutdown(std::net::Shutdown::Both);
                    let _ = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Cutter { host, cuts }
    }
}

#[tokio::test]
async fn privileged_an_upload_survives_connections_that_break() {
    let Some(server) = Server::start() else { return };
    let layer = noise(50_000_000);
    // A blob of one request, and the first and a later chunk of one of several.
    for (length, after, cuts) in [(10_000_000, 5_000_000, 1), (50_000_000, 5_000_000, 2), (50_000_000, 20_000_000, 1)] {
        let layer = &layer[..length];
        let cutter = Cutter::before(&server, after, cuts);
        let registry = HttpRegistry::default();
        let name = Reference::parse(&format!("{}/cut/{length}-{after}:1", cutter.host)).unwrap();
        let mut upload = registry.begin_upload(&name).await.unwrap();
        let sent = upload.write(layer).await;
        match sent {
            // This server does not go on in the middle of a chunk; whoever has the blob begins anew.
            Err(error) => {
                assert!(after > 16 << 20, "{error}");
                assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                let digest = Digest::sha256_of(layer);
                let mut upload = registry.begin_upload(&name).await.unwrap();
                upload.write(layer).await.unwrap();
                upload.finish(&digest).await.unwrap();
            }
            Ok(()) => upload.finish(&Digest::sha256_of(layer)).await.unwrap(),
        }
        assert_eq!(cutter.cuts.load(Ordering::SeqCst), 0, "nothing was cut");
        let direct = server.reference(&format!("cut/{length}-{after}:1"));
        assert!(HttpRegistry::default().has_blob(&direct, &Digest::sha256_of(layer)).await.unwrap());
    }
}
