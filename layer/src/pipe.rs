//! A stream between two threads, made of a few buffers that go round: full ones forward, empty ones back.
//!
//! The end of a stream is said, not inferred: a sender that fails just stops, and its receiver sees a broken pipe
//! instead of a shorter stream.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// The size of a buffer: large enough that handing it over costs nothing, small enough for a core's cache.
const BUFFER: usize = 512 * 1024;

/// How many buffers one stream has.
const BUFFERS: usize = 6;

enum Piece {
    Bytes(Box<[u8]>, usize),
    End,
}

/// The sending end.
pub(crate) struct Feed {
    empty: Receiver<Box<[u8]>>,
    full: SyncSender<Piece>,
    /// Buffers that have not been made yet: a small layer needs one or two.
    unmade: usize,
}

/// The receiving end, read like a file.
pub(crate) struct Stream {
    full: Receiver<Piece>,
    empty: Sender<Box<[u8]>>,
    current: Option<(Box<[u8]>, usize, usize)>,
    ended: bool,
}

/// A step in between that looks at the bytes and passes them on.
pub(crate) struct Relay {
    full: Receiver<Piece>,
    onward: SyncSender<Piece>,
}

/// A new stream.
pub(crate) fn new() -> (Feed, Stream) {
    let (empty_in, empty) = channel();
    let (full, full_out) = sync_channel(BUFFERS);
    let feed = Feed { empty, full, unmade: BUFFERS };
    (feed, Stream { full: full_out, empty: empty_in, current: None, ended: false })
}

/// Puts a step into a stream nothing has been read from.
pub(crate) fn relay(stream: Stream) -> (Relay, Stream) {
    let (onward, full) = sync_channel(BUFFERS);
    let Stream { full: before, empty, .. } = stream;
    (Relay { full: before, onward }, Stream { full, empty, current: None, ended: false })
}

/// Reads until the buffer is full or the source ends.
pub(crate) fn fill(source: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

impl Feed {
    /// An empty buffer, as soon as there is one; nothing when the receiver is gone.
    pub fn buffer(&mut self) -> Option<Box<[u8]>> {
        if let Ok(buffer) = self.empty.try_recv() {
            return Some(buffer);
        }
        if self.unmade > 0 {
            self.unmade -= 1;
            return Some(vec![0; BUFFER].into_boxed_slice());
        }
        self.empty.recv().ok()
    }

    /// Sends the first `length` bytes of a buffer.
    pub fn send(&mut self, buffer: Box<[u8]>, length: usize) {
        // A receiver that is gone is noticed when the next buffer is asked for.
        let _ = self.full.send(Piece::Bytes(buffer, length));
    }

    /// Says that the stream is complete.
    pub fn end(self) {
        let _ = self.full.send(Piece::End);
    }
}

impl Relay {
    /// Passes everything on until the end, the sender's failure, or the receiver's; returns how many bytes there were.
    pub fn run(self, mut look: impl FnMut(&[u8])) -> u64 {
        let mut size = 0;
        while let Ok(piece) = self.full.recv() {
            if let Piece::Bytes(buffer, length) = &piece {
                size += *length as u64;
                look(&buffer[..*length]);
            }
            if self.onward.send(piece).is_err() {
                break;
            }
        }
        size
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|(_, at, length)| at == length) && !self.ended {
            if let Some((buffer, ..)) = self.current.take() {
                let _ = self.empty.send(buffer);
            }
            match self.full.recv() {
                Ok(Piece::Bytes(buffer, length)) => self.current = Some((buffer, 0, length)),
                Ok(Piece::End) => self.ended = true,
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(self.current.as_ref().map_or(&[], |(buffer, at, length)| &buffer[*at..*length]))
    }

    fn consume(&mut self, amount: usize) {
        if let Some((_, at, length)) = &mut self.current {
            *at = (*at + amount).min(*length);
        }
    }
}
