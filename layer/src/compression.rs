//! Layer compression, told from content and never from a media type or a file name: none, gzip or zstd.
//!
//! A label that contradicts the content would otherwise decide how bytes are read, and peers differ there. Memory is
//! bounded whatever the stream asks for: zstd windows over 128 MiB are refused (the format allows 2 GiB and more).

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};

use crate::error::{Error, Result};

/// The largest zstd window that is accepted, as a power of two: 128 MiB, what `zstd --ultra` can produce at most.
const WINDOW_LOG_MAX: u32 = 27;

/// How many bytes are read from the source at a time.
const BUFFER: usize = 256 * 1024;

/// The compressions a layer can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// The archive itself.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
}

impl Compression {
    /// Tells the compression from the first bytes of a stream; six are enough, fewer are taken as what they are.
    ///
    /// xz and bzip2 are recognised to be refused by name: the image specification knows neither.
    pub fn detect(first: &[u8]) -> Result<Compression> {
        match first {
            [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
            // A skippable frame: zstd:chunked writers may begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Error::UnsupportedCompression("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1' | 0x17, ..] => Err(Error::UnsupportedCompression("bzip2")),
            _ => Ok(Compression::None),
        }
    }

    /// The name used in messages, and after the `+` of an OCI media type.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads the uncompressed bytes of a stream.
///
/// Several gzip members or zstd frames in a row are one stream; anything else after the last is an error, as is an end
/// in the middle of one.
pub struct Decoder<R: BufRead>(Kind<R>);

enum Kind<R: BufRead> {
    None(R),
    Gzip(Box<flate2::bufread::MultiGzDecoder<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: Read> Decoder<BufReader<R>> {
    /// Looks at the first bytes of `source` and decodes accordingly.
    pub fn new(source: R) -> Result<Decoder<BufReader<R>>> {
        Decoder::with_buffer(BufReader::with_capacity(BUFFER, source))
    }
}

impl<R: BufRead> Decoder<R> {
    /// Like [`Decoder::new`], on a source that has a buffer already; its first filling should hold six bytes.
    pub fn with_buffer(mut source: R) -> Result<Decoder<R>> {
        let compression = Compression::detect(source.fill_buf().map_err(Error::Source)?)?;
        Decoder::of(compression, source)
    }

    /// Decodes a stream whose compression has been detected.
    pub fn of(compression: Compression, source: R) -> Result<Decoder<R>> {
        Ok(Decoder(match compression {
            Compression::None => Kind::None(source),
            Compression::Gzip => Kind::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let fail = |source| Error::Decompress { compression: "zstd", source };
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source).map_err(fail)?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(fail)?;
                Kind::Zstd(Box::new(decoder))
            }
        }))
    }

    /// What was detected.
    pub fn compression(&self) -> Compression {
        match self.0 {
            Kind::None(_) => Compression::None,
            Kind::Gzip(_) => Compression::Gzip,
            Kind::Zstd(_) => Compression::Zstd,
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::None(source) => source.read(buffer),
            Kind::Gzip(decoder) => decoder.read(buffer),
            Kind::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl<R: BufRead> fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoder").field(&self.compression()).finish()
    }
}

/// Writes a compressed stream, the same bytes for the same input: gzip carries no time and no name.
pub struct Encoder<W: Write>(Sink<W>);

enum Sink<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Compresses into `sink`. `level` is the format's own scale; without one its usual default is taken.
    pub fn new(compression: Compression, level: Option<u32>, sink: W) -> Result<Encoder<W>> {
        Ok(Encoder(match compression {
            Compression::None => Sink::None(sink),
            Compression::Gzip => {
                let level = level.map_or(flate2::Compression::default(), |l| flate2::Compression::new(l.min(9)));
                Sink::Gzip(flate2::write::GzEncoder::new(sink, level))
            }
            Compression::Zstd => {
                let level = level.map_or(zstd::DEFAULT_COMPRESSION_LEVEL, |l| i32::try_from(l.min(22)).unwrap_or(22));
                Sink::Zstd(zstd::stream::write::Encoder::new(sink, level).map_err(Error::Sink)?)
            }
        }))
    }

    /// Writes what is left, and returns the sink. A stream that is only dropped is cut short.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Sink::None(sink) => Ok(sink),
            Sink::Gzip(encoder) => encoder.finish(),
            Sink::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Sink::None(sink) => sink.write(bytes),
            Sink::Gzip(encoder) => encoder.write(bytes),
            Sink::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Sink::None(sink) => sink.flush(),
            Sink::Gzip(encoder) => encoder.flush(),
            Sink::Zstd(encoder) => encoder.flush(),
        }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

#[cfg(test)]
mod tests;
