//! A server that answers by a script, byte for byte: for faults that no real server could be talked into.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mica_engine::Reference;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// How many requests came before it.
    pub number: usize,
    /// The path with its query.
    pub path: String,
    /// The header's lines.
    head: String,
}

impl Asked {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// Which of so many bytes were asked for.
    pub fn range(&self, size: usize) -> Range<usize> {
        let range = self.header("range");
        let ends = range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        ends.map_or(0..size, |(first, last)| first.parse().unwrap()..last.parse::<usize>().unwrap() + 1)
    }
}

/// A server, until the program ends.
#[derive(Clone)]
pub struct Script {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<AtomicU64>,
}

impl Script {
    /// Answers each request with these bytes, then closes the connection.
    pub fn start(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Script { port, asked: Arc::default(), sent: Arc::default() };
        let (own, answer) = (script.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (own, answer) = (own.clone(), Arc::clone(&answer));
                std::thread::spawn(move || own.serve(stream, &*answer));
            }
        });
        script
    }

    fn serve(&self, mut stream: TcpStream, answer: &dyn Fn(&Asked) -> Vec<u8>) {
        let Some(head) = head(&mut stream) else {
            // Not HTTP: somebody tries TLS first.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // Closed with bytes unread, the connection would be reset and the answer lost.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let asked = {
            let mut all = self.asked.lock().unwrap();
            let asked = Asked { number: all.len(), path, head };
            all.push(asked.clone());
            asked
        };
        for piece in answer(&asked).chunks(64 << 10) {
            if stream.write_all(piece).is_err() {
                break;
            }
            self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }

    /// A name on it.
    pub fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("127.0.0.1:{}/{rest}", self.port)).unwrap()
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many bytes could be sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Reads up to the empty line; `None` when the bytes are no request.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 || (head.is_empty() && !byte[0].is_ascii_uppercase()) {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// An answer with its length.
pub fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    announced(status, headers, body.len(), body)
}

/// An answer that says another length than it has.
pub fn announced(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let lines: String = headers.lines().map(|line| format!("{}\r\n", line.trim())).collect();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{lines}\r\n");
    [head.as_bytes(), body].concat()
}

/// The part of a blob that was asked for.
pub fn part(asked: &Asked, blob: &[u8]) -> Vec<u8> {
    cut_part(asked, blob, blob.len())
}

/// The same, cut off after so many bytes.
pub fn cut_part(asked: &Asked, blob: &[u8], after: usize) -> Vec<u8> {
    let range = asked.range(blob.len());
    let part = &blob[range.clone()];
    let sent = &part[..after.min(part.len())];
    if asked.header("range").is_none() {
        return announced("200 OK", "", part.len(), sent);
    }
    let content_range = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, blob.len());
    announced("206 Partial Content", &content_range, part.len(), sent)
}
