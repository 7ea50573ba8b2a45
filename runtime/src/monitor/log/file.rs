//! Docker's json-file log: one JSON object a line, rotated by size, and compressed where that is asked for.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use mica_engine::runtime::LogFilesTarget;
use mica_runtime::frame::Stream;

use super::pack::{ENDING, Packing};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Open files.
#[derive(Debug)]
pub struct LogFiles {
    target: LogFilesTarget,
    /// What every entry has beside its line: nothing, or a member of the object.
    attributes: String,
    file: fs_err::File,
    size: u64,
    /// The file that was turned over last, as long as it is being compressed.
    packing: Option<Packing>,
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
        let mut files =
            Self { target, attributes, file, size, packing: None, time: String::new(), encoded: Vec::new() };
        files.pack();
        Ok(files)
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
        let length = self.encoded.len() as u64;
        let written = match self.target.max_size {
            None => self.file.write_all(&self.encoded),
            Some(limit) => self.write_rotating(limit),
        };
        self.size += self.encoded.len() as u64;
        self.encoded.clear();
        self.packing = self.packing.take().and_then(|packing| packing.step(length));
        written
    }

    /// A line is never split between two files.
    fn write_rotating(&mut self, limit: u64) -> io::Result<()> {
        let encoded = std::mem::take(&mut self.encoded);
        for line in encoded.split_inclusive(|byte| *byte == b'\n') {
            if self.size > 0 && self.size + line.len() as u64 > limit {
                // Names are about to change.
                if let Some(packing) = self.packing.take() {
                    packing.finish();
                }
                rotate(&self.target)?;
                self.file = open(&self.target.path)?;
                self.size = 0;
                self.pack();
            }
            self.file.write_all(line)?;
            self.size += line.len() as u64;
        }
        Ok(())
    }

    /// Begins to compress the file that was turned over last: just now, or before a monitor ended that had begun with it.
    fn pack(&mut self) {
        if self.target.compress && self.target.max_files > 1 {
            self.packing = Packing::begin(numbered(&self.target.path, 1, ""));
        }
    }
}

fn open(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// `log` becomes `log.1`, `log.1` becomes `log.2`, and the one beyond the last is gone, compressed or not.
fn rotate(target: &LogFilesTarget) -> io::Result<()> {
    if target.max_files <= 1 {
        return fs_err::remove_file(&target.path);
    }
    let last = target.max_files - 1;
    let unless_missing = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let name = |number: u32, ending: &str| numbered(&target.path, number, ending);
    for ending in ["", ENDING] {
        // A file of the other form at the last place would stay for ever.
        unless_missing(fs_err::remove_file(name(last, ending)))?;
        for number in (1..last).rev() {
            unless_missing(fs_err::rename(name(number, ending), name(number + 1, ending)))?;
        }
    }
    fs_err::rename(&target.path, name(1, ""))
}

fn numbered(path: &Path, number: u32, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{ending}"));
    name.into()
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
