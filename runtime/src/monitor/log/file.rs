//! Docker's json-file log: one JSON object a line, rotated by size, and compressed where that is asked for.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use fs_err::os::unix::fs::OpenOptionsExt;
use mica_engine::runtime::LogFilesTarget;
use mica_runtime::frame::Stream;

/// What ends the name of a compressed file.
const PACKED: &str = ".gz";

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Open files.
#[derive(Debug)]
pub struct LogFiles {
    target: LogFilesTarget,
    /// What every entry has beside its line: nothing, or a member of the object.
    attributes: String,
    file: fs_err::File,
    size: u64,
    time: String,
    encoded: Vec<u8>,
}

impl LogFiles {
    /// Opens the newest file to append to it.
    pub fn open(target: LogFilesTarget) -> io::Result<Self> {
        let file = open(&target.path)?;
        let size = file.metadata()?.len();
        let attributes = match target.attributes.is_empty() {
            true => String::new(),
            false => format!(",\"attrs\":{}", serde_json::to_string(&target.attributes)?),
        };
        Ok(Self { target, attributes, file, size, time: String::new(), encoded: Vec::new() })
    }

    /// What is added next comes at one time.
    pub fn begin(&mut self) {
        self.time = timestamp();
    }

    /// Adds an entry.
    pub fn add(&mut self, stream: Stream, line: &[u8]) {
        encode(line, stream, &self.attributes, &self.time, &mut self.encoded);
    }

    /// Writes what was added.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.encoded.is_empty() {
            return Ok(());
        }
        let written = match self.target.max_size {
            None => self.file.write_all(&self.encoded),
            Some(limit) => self.write_rotating(limit),
        };
        self.size += self.encoded.len() as u64;
        self.encoded.clear();
        written
    }

    /// A line is never split between two files.
    fn write_rotating(&mut self, limit: u64) -> io::Result<()> {
        let encoded = std::mem::take(&mut self.encoded);
        for line in encoded.split_inclusive(|byte| *byte == b'\n') {
            if self.size > 0 && self.size + line.len() as u64 > limit {
                rotate(&self.target)?;
                self.file = open(&self.target.path)?;
                self.size = 0;
            }
            self.file.write_all(line)?;
            self.size += line.len() as u64;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// `log` becomes `log.1`, `log.1` becomes `log.2`, and the one beyond the last is gone, compressed or not.
fn rotate(target: &LogFilesTarget) -> io::Result<()> {
    let numbered = |number: u32, ending: &str| {
        let mut name = target.path.as_os_str().to_owned();
        name.push(format!(".{number}{ending}"));
        PathBuf::from(name)
    };
    if target.max_files <= 1 {
        return fs_err::remove_file(&target.path);
    }
    let last = target.max_files - 1;
    let unless_missing = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    for ending in ["", PACKED] {
        // A file of the other form at the last place would stay for ever.
        unless_missing(fs_err::remove_file(numbered(last, ending)))?;
        for number in (1..last).rev() {
            unless_missing(fs_err::rename(numbered(number, ending), numbered(number + 1, ending)))?;
        }
    }
    let plain = numbered(1, "");
    fs_err::rename(&target.path, &plain)?;
    if target.compress {
        // A disk that has no room for a smaller file has the larger one already.
        let partial = numbered(1, ".partial");
        if pack(&plain, &partial).and_then(|()| fs_err::rename(&partial, numbered(1, PACKED))).is_ok() {
            fs_err::remove_file(&plain)?;
        } else {
            unless_missing(fs_err::remove_file(&partial))?;
        }
    }
    Ok(())
}

/// Compresses a file. Its inode number stands in the header, by which a reader that follows the log knows what it has read.
fn pack(plain: &Path, packed: &Path) -> io::Result<()> {
    let mut from = fs_err::File::open(plain)?;
    let comment = from.metadata()?.ino().to_string();
    let to = fs_err::OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(packed)?;
    let mut encoder = GzBuilder::new().comment(comment).write(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish().map(drop)
}

/// RFC 3339 with exactly nine digits, as docker writes it.
fn timestamp() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

fn encode(line: &[u8], stream: Stream, attributes: &str, time: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        escape(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    out.extend_from_slice(format!("\",\"stream\":\"{name}\"{attributes},\"time\":\"{time}\"}}\n").as_bytes());
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(text.get(plain..at).unwrap_or_default());
        if escaped.is_empty() {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        } else {
            out.extend_from_slice(escaped);
        }
        plain = at + 1;
    }
    out.extend_from_slice(text.get(plain..).unwrap_or_default());
}
