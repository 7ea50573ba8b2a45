//! An upload that goes on in the middle of a chunk. Debian's registry refuses that, so this server is a few lines of ours that
//! keep what has come, as the specification has it, and break the connection when they are told to.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mica_engine::Reference;
use mica_engine::registry::Registry as _;
use mica_layer::Digest;
use mica_registry::HttpRegistry;

/// What came, and after how many bytes the next connections with a chunk break, the last one first.
#[derive(Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    breaks: Vec<Option<u64>>,
    digest: Option<String>,
    received: u64,
}

fn answer(client: &TcpStream, seen: &Mutex<Seen>) -> Option<()> {
    let mut reader = BufReader::new(client);
    // TLS is tried first, and answered as servers do that have none.
    if reader.fill_buf().ok()?.first() == Some(&0x16) {
        return (&mut &*client).write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").ok();
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let method = line.split(' ').next()?;
        let mut seen = seen.lock().unwrap();
        let breaks = if method == "PATCH" { seen.breaks.pop().flatten() } else { None };
        let mut body = Vec::new();
        (&mut reader).take(breaks.unwrap_or(length)).read_to_end(&mut body).ok()?;
        seen.received += body.len() as u64;
        seen.bytes.extend(body);
        if breaks.is_some() {
            return client.shutdown(std::net::Shutdown::Both).ok();
        }
        let range = format!("Location: /v2/a/blobs/uploads/1\r\nRange: 0-{}", seen.bytes.len().saturating_sub(1));
        let (status, headers) = match (method, line.contains("/uploads/")) {
            ("POST" | "PATCH", _) => ("202 Accepted", range),
            ("GET", true) => ("204 No Content", range),
            ("PUT", _) => {
                seen.digest = Some(Digest::sha256_of(&seen.bytes).to_string());
                ("201 Created", String::new())
            }
            ("GET", false) => ("200 OK", String::new()),
            _ => ("404 Not Found", String::new()),
        };
        let headers = if headers.is_empty() { headers } else { format!("{headers}\r\n") };
        let length = if status.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        (&mut &*client).write_all(format!("HTTP/1.1 {status}\r\n{headers}{length}\r\n").as_bytes()).ok()?;
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_the_server_says_it_has_got_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = Reference::parse(&format!("{}/a:1", listener.local_addr().unwrap())).unwrap();
    let seen = Arc::new(Mutex::new(Seen {
        breaks: vec![Some(5_000_000), None, Some(9), Some(0), Some(16_000_000)],
        ..Seen::default()
    }));
    let theirs = Arc::clone(&seen);
    // It ends with the process of the test.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, seen) = (client.unwrap(), Arc::clone(&theirs));
            std::thread::spawn(move || answer(&client, &seen));
        }
    });
    let blob: Vec<u8> = (0..40_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let digest = Digest::sha256_of(&blob);
    let registry = HttpRegistry::default();
    let mut upload = registry.begin_upload(&name).await.unwrap();
    upload.write(&blob).await.unwrap();
    upload.finish(&digest).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.digest.as_deref(), Some(digest.as_str()));
    assert_eq!((seen.received, seen.breaks.len()), (blob.len() as u64, 0), "nothing came twice");
}
