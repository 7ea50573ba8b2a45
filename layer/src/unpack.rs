//! The overlapped pipeline from a layer's stored bytes to its files.
//!
//! ```text
//! source ─► read, digest, keep ─► decompress ─► digest ─► apply      (compressed)
//! source ─► read, digest, keep ─────────────────────────► apply      (not compressed: one digest is both)
//! ```
//! Each step but the last has its own thread; between two of them a few buffers go round and round, so memory is the
//! same for every layer and a slow step slows the ones before it down instead of piling up data.

use std::io::{self, BufRead, Read, Write};
use std::thread::{Scope, ScopedJoinHandle};

use crate::apply::{self, Applied, Limits, Target};
use crate::compression::{Compression, Decoder};
use crate::digest::{Algorithm, DiffId, Digest, Hasher};
use crate::error::{Error, Result};
use crate::pipe::{self, Feed, Stream};

/// What reads an uncompressed archive, up to its end marker at least.
pub type ArchiveReader<'a> = dyn FnMut(&mut dyn BufRead) -> Result<()> + 'a;

/// One layer to be unpacked: where its bytes come from, what they must be, and where they go.
pub struct Unpack<'a> {
    /// The layer as it is stored or sent: compressed or not.
    pub source: &'a mut (dyn Read + Send),
    /// Where the layer is applied; nothing only verifies it.
    pub target: Option<Target<'a>>,
    /// Reads the uncompressed archive where there is no target, for example a [`crate::Verifier`].
    pub reader: Option<&'a mut ArchiveReader<'a>>,
    /// Receives the source's bytes as they came.
    pub blob: Option<&'a mut (dyn Write + Send)>,
    /// The digest the source's bytes must have.
    pub expected_digest: Option<Digest>,
    /// The number of bytes the source must have; reading stops there.
    pub expected_size: Option<u64>,
    /// The digest the uncompressed bytes must have.
    pub expected_diff_id: Option<DiffId>,
    /// The most bytes the uncompressed archive may have, where the source is compressed.
    pub max_uncompressed: Option<u64>,
    /// Bounds on what is applied.
    pub limits: Limits,
}

impl<'a> Unpack<'a> {
    /// Verifies nothing and applies nothing until its fields are set.
    pub fn new(source: &'a mut (dyn Read + Send)) -> Unpack<'a> {
        Unpack {
            source,
            target: None,
            reader: None,
            blob: None,
            expected_digest: None,
            expected_size: None,
            expected_diff_id: None,
            max_uncompressed: None,
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for Unpack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpack")
            .field("target", &self.target)
            .field("expected_digest", &self.expected_digest)
            .field("expected_size", &self.expected_size)
            .field("expected_diff_id", &self.expected_diff_id)
            .finish_non_exhaustive()
    }
}

/// What a layer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the source's bytes.
    pub blob: Digest,
    /// How many bytes the source had.
    pub blob_size: u64,
    /// The digest of the uncompressed bytes.
    pub diff_id: DiffId,
    /// How many bytes the uncompressed archive had.
    pub diff_size: u64,
    /// How the source was compressed.
    pub compression: Compression,
    /// What applying did, when there was a target.
    pub applied: Option<Applied>,
}

/// Unpacks one layer: reading, decompressing, both digests and applying overlap on threads.
///
/// The first cause of a failure is what is reported: a source that breaks off rather than the archive it cut short.
/// When this fails the target holds an unspecified part of the layer: the caller drops its stage.
pub fn unpack(request: Unpack<'_>) -> Result<Unpacked> {
    let Unpack { source, target, reader, blob, expected_digest, expected_size, expected_diff_id, limits, .. } = request;
    let most = request.max_uncompressed.unwrap_or(u64::MAX);
    let algorithm = expected_digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let diff_algorithm = expected_diff_id.as_ref().map_or(Algorithm::Sha256, |d| d.0.algorithm());
    let (end, rest) = std::thread::scope(|scope| {
        let (feed, stream) = pipe::new();
        let producer = scope.spawn(move || read(source, blob, Hasher::with(algorithm), expected_size, feed));
        let separate = (diff_algorithm != algorithm).then_some(diff_algorithm);
        let mut end = End { target, reader, limits, most };
        let rest = consume(scope, stream, separate, diff_algorithm, &mut end);
        (join(producer), rest)
    });
    let end = end?;
    let rest = rest?;
    // Whoever consumed everything without an error has seen the source's end.
    let (blob, blob_size) = end.ok_or_else(|| Error::Source(io::ErrorKind::UnexpectedEof.into()))?;
    let (diff_id, diff_size) = rest.diff.unwrap_or_else(|| (blob.clone(), blob_size));
    verify("blob", expected_digest, &blob)?;
    verify("uncompressed layer", expected_diff_id.map(|d| d.0), &diff_id)?;
    let (compression, applied) = (rest.compression, rest.applied);
    Ok(Unpacked { blob, blob_size, diff_id: DiffId(diff_id), diff_size, compression, applied })
}

/// What the steps after the source find out.
struct Rest {
    compression: Compression,
    /// The uncompressed digest and size, where they are not the source's.
    diff: Option<(Digest, u64)>,
    applied: Option<Applied>,
}

/// Reads the source to its end; nothing when the steps after it gave up.
fn read(
    source: &mut (dyn Read + Send),
    mut blob: Option<&mut (dyn Write + Send)>,
    mut hasher: Hasher,
    expected_size: Option<u64>,
    mut feed: Feed,
) -> Result<Option<(Digest, u64)>> {
    let mut size = 0;
    while let Some(mut buffer) = feed.buffer() {
        let filled = pipe::fill(source, &mut buffer).map_err(Error::Source)?;
        if filled == 0 {
            if let Some(blob) = &mut blob {
                blob.flush().map_err(Error::Blob)?;
            }
            if let Some(expected) = expected_size.filter(|expected| size < *expected) {
                return Err(Error::TooShort { expected, actual: size });
            }
            feed.end();
            return Ok(Some((hasher.finish(), size)));
        }
        size += filled as u64;
        if let Some(expected) = expected_size.filter(|expected| size > *expected) {
            return Err(Error::TooLong { expected, actual: size });
        }
        if let Some(blob) = &mut blob {
            blob.write_all(&buffer[..filled]).map_err(Error::Blob)?;
        }
        hasher.update(&buffer[..filled]);
        feed.send(buffer, filled);
    }
    Ok(None)
}

/// Decompresses if need be, and applies.
fn consume<'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut stream: Stream,
    separate: Option<Algorithm>,
    algorithm: Algorithm,
    end: &mut End<'_>,
) -> Result<Rest> {
    let compression = Compression::detect(stream.fill_buf().map_err(Error::Source)?)?;
    if compression == Compression::None && separate.is_none() {
        return Ok(Rest { compression, diff: None, applied: end.deliver(stream)? });
    }
    let (feed, decoded) = pipe::new();
    let (forward, hashed) = pipe::relay(decoded);
    let most = end.most;
    let decoder = scope.spawn(move || decode(compression, stream, feed, most));
    let hasher = scope.spawn(move || {
        let mut hasher = Hasher::with(algorithm);
        let size = forward.run(|bytes| hasher.update(bytes));
        (hasher.finish(), size)
    });
    let applied = end.deliver(hashed);
    join(decoder)?;
    let diff = Some(join(hasher));
    Ok(Rest { compression, diff, applied: applied? })
}

fn decode(compression: Compression, stream: Stream, mut feed: Feed, most: u64) -> Result<()> {
    let mut decoder = Decoder::of(compression, stream)?;
    let mut size = 0;
    while let Some(mut buffer) = feed.buffer() {
        let filled = pipe::fill(&mut decoder, &mut buffer)
            .map_err(|source| Error::Decompress { compression: compression.name(), source })?;
        if filled == 0 {
            feed.end();
            break;
        }
        size += filled as u64;
        if compression != Compression::None && size > most {
            return Err(Error::Limit { what: "bytes when it is uncompressed", limit: most });
        }
        feed.send(buffer, filled);
    }
    Ok(())
}

/// The last step: applies the uncompressed stream, or only reads it, to its end.
struct End<'a> {
    target: Option<Target<'a>>,
    reader: Option<&'a mut ArchiveReader<'a>>,
    limits: Limits,
    most: u64,
}

impl End<'_> {
    fn deliver(&mut self, mut stream: Stream) -> Result<Option<Applied>> {
        let applied = match (&self.target, &mut self.reader) {
            (Some(target), _) => Some(apply::apply_buffered(&mut stream, target, &self.limits, None)?),
            (None, Some(reader)) => {
                reader(&mut stream)?;
                None
            }
            (None, None) => None,
        };
        apply::drain(&mut stream)?;
        Ok(applied)
    }
}

fn verify(what: &'static str, expected: Option<Digest>, actual: &Digest) -> Result<()> {
    match expected {
        Some(expected) if expected != *actual => Err(Error::DigestMismatch { what, expected, actual: actual.clone() }),
        _ => Ok(()),
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests;
