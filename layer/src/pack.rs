//! Packing layers for a journey: compression on all cores, and the same bytes whatever the number of threads.
//!
//! gzip is cut into blocks that are compressed at once, each into members of its own: a stream of several members is one
//! file (RFC 1952 section 2.2), and what reads layers reads such streams, because eStargz images are made of them. One member
//! would need a compressor that can be flushed, and those take nearly twice as long as libdeflate, which cannot. zstd divides its
//! work itself, into one frame.

mod dense;
mod gzip;
mod members;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead as _, Read, Write};
use std::str::FromStr;
use std::thread::ScopedJoinHandle;

use crate::compression::Compression;
use crate::digest::{DiffId, Digest, Hasher};
use crate::error::{Error, Result};
use crate::pipe::{self, Feed, Stream};

/// What `gzip` without a level stands for. Of a Debian root file system it makes as many bytes as Podman and Buildah do, in
/// well under half of their time, which on a fast network is what a push takes. Level 6 makes five per cent less, less than
/// `gzip -6` too, and takes nearly twice as long.
const GZIP_LEVEL: u32 = 1;

/// How a layer is to be compressed. Written `none`, `gzip`, `gzip:N`, `zstd` or `zstd:N`; shown with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// The archive itself.
    None,
    /// gzip at a level from 1 to 9.
    Gzip(u32),
    /// zstd at a level from 1 to 22.
    Zstd(u32),
}

impl Packing {
    /// The format.
    pub fn compression(self) -> Compression {
        match self {
            Packing::None => Compression::None,
            Packing::Gzip(_) => Compression::Gzip,
            Packing::Zstd(_) => Compression::Zstd,
        }
    }
}

impl Default for Packing {
    fn default() -> Packing {
        Packing::Gzip(GZIP_LEVEL)
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packing::None => f.write_str("none"),
            Packing::Gzip(level) => write!(f, "gzip:{level}"),
            Packing::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl FromStr for Packing {
    type Err = String;

    fn from_str(text: &str) -> Result<Packing, String> {
        let (format, level) = text.split_once(':').map_or((text, None), |(format, level)| (format, Some(level)));
        let level = |usual: u32, most: u32| match level {
            None => Ok(usual),
            Some(level) => match level.parse() {
                Ok(level) if (1..=most).contains(&level) => Ok(level),
                _ => Err(format!("the level of {format} is a number from 1 to {most}")),
            },
        };
        match format {
            "none" if text == format => Ok(Packing::None),
            "gzip" => level(GZIP_LEVEL, 9).map(Packing::Gzip),
            "zstd" => level(zstd::DEFAULT_COMPRESSION_LEVEL.unsigned_abs(), 22).map(Packing::Zstd),
            _ => Err("a compression is gzip, gzip:N, zstd, zstd:N or none".to_owned()),
        }
    }
}

/// What a layer was packed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the packed bytes.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
    /// The digest of the bytes that were packed.
    pub diff_id: DiffId,
    /// How many there were.
    pub diff_size: u64,
}

/// Compresses everything that `source` has into `sink`, on so many threads, computing both digests on the way.
///
/// When this fails, the sink has got a part of the stream, which may pass for a whole one.
pub fn pack(source: &mut (dyn Read + Send), packing: Packing, threads: usize, sink: &mut dyn Write) -> Result<Packed> {
    let threads = threads.max(1);
    let mut sink = Counting { sink, hasher: Hasher::new(), size: 0 };
    let read = match packing {
        Packing::None => stream(source, |stream| copy(stream, &mut sink))?,
        Packing::Gzip(level) => gzip::pack(source, level, threads, &mut sink)?,
        Packing::Zstd(level) => stream(source, |stream| {
            let mut encoder = zstd_encoder(level, threads, &mut sink).map_err(Error::Sink)?;
            copy(stream, &mut encoder)?;
            encoder.finish().map(drop).map_err(Error::Sink)
        })?,
    };
    sink.flush().map_err(Error::Sink)?;
    let (diff_id, diff_size) = (DiffId(read.digest), read.size);
    Ok(Packed { digest: sink.hasher.finish(), size: sink.size, diff_id, diff_size })
}

fn zstd_encoder<W: Write>(level: u32, threads: usize, sink: W) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let level = i32::try_from(level.clamp(1, 22)).unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let mut encoder = zstd::stream::write::Encoder::new(sink, level)?;
    // One worker too, not none: only between those counts are the bytes the same.
    encoder.multithread(u32::try_from(threads).unwrap_or(u32::MAX).min(256))?;
    Ok(encoder)
}

/// What was read of a source.
struct Source {
    digest: Digest,
    size: u64,
}

/// Reads and hashes the source on a thread of its own while `rest` takes what comes of it.
fn stream(source: &mut (dyn Read + Send), rest: impl FnOnce(Stream) -> Result<()>) -> Result<Source> {
    std::thread::scope(|scope| {
        let (feed, stream) = pipe::new();
        let reader = scope.spawn(move || read(source, feed));
        let done = rest(stream);
        // A source that broke off is why the rest failed, and not the other way round.
        match (join(reader)?, done) {
            (_, Err(error)) => Err(error),
            (Some(source), Ok(())) => Ok(source),
            (None, Ok(())) => Err(Error::Source(io::ErrorKind::BrokenPipe.into())),
        }
    })
}

fn read(source: &mut (dyn Read + Send), mut feed: Feed) -> Result<Option<Source>> {
    let (mut hasher, mut size) = (Hasher::new(), 0);
    while let Some(mut buffer) = feed.buffer() {
        let filled = pipe::fill(source, &mut buffer).map_err(Error::Source)?;
        if filled == 0 {
            feed.end();
            return Ok(Some(Source { digest: hasher.finish(), size }));
        }
        hasher.update(&buffer[..filled]);
        size += filled as u64;
        feed.send(buffer, filled);
    }
    Ok(None)
}

fn copy(mut stream: Stream, sink: &mut dyn Write) -> Result<()> {
    loop {
        let bytes = stream.fill_buf().map_err(Error::Source)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let length = bytes.len();
        sink.write_all(bytes).map_err(Error::Sink)?;
        stream.consume(length);
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Passes bytes on, and knows what they were.
struct Counting<'a> {
    sink: &'a mut dyn Write,
    hasher: Hasher,
    size: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
