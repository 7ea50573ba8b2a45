//! Docker's json-file log: one JSON object a line, long lines in parts of 16 KiB, rotated by size.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use mica_engine::runtime::LogTarget;
use mica_runtime::frame::Stream;

/// The longest part of a line that one object holds; readers join parts until a newline comes.
const PART: usize = 16 << 10;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// An open log.
#[derive(Debug)]
pub struct Log {
    target: LogTarget,
    file: fs_err::File,
    size: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    encoded: Vec<u8>,
}

impl Log {
    /// Opens the log to append to it: a container that is started again continues its log.
    pub fn open(target: LogTarget) -> io::Result<Self> {
        let file = open(&target.path)?;
        let size = file.metadata()?.len();
        Ok(Self { target, file, size, stdout: Vec::new(), stderr: Vec::new(), encoded: Vec::new() })
    }

    /// Adds output.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let time = timestamp();
        let mut pending = std::mem::take(self.pending(stream));
        let mut rest = bytes;
        while !rest.is_empty() {
            let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let (piece, after) = rest.split_at(line.min(PART - pending.len()));
            rest = after;
            if pending.is_empty() && piece.ends_with(b"\n") {
                encode(piece, stream, &time, &mut self.encoded);
                continue;
            }
            pending.extend_from_slice(piece);
            if pending.ends_with(b"\n") {
                encode(&pending, stream, &time, &mut self.encoded);
                pending.clear();
            } else if pending.len() >= PART {
                let cut = character_boundary(&pending);
                encode(pending.get(..cut).unwrap_or_default(), stream, &time, &mut self.encoded);
                pending.drain(..cut);
            }
        }
        *self.pending(stream) = pending;
        self.flush()
    }

    /// Writes what has no newline yet; nothing more will come.
    pub fn finish(&mut self) -> io::Result<()> {
        let time = timestamp();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = std::mem::take(self.pending(stream));
            if !pending.is_empty() {
                encode(&pending, stream, &time, &mut self.encoded);
            }
        }
        self.flush()
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr }
    }

    fn flush(&mut self) -> io::Result<()> {
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

/// `log` becomes `log.1`, `log.1` becomes `log.2`, and the one beyond the last is gone.
fn rotate(target: &LogTarget) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = target.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if target.max_files <= 1 {
        return fs_err::remove_file(&target.path);
    }
    for number in (1..target.max_files.saturating_sub(1)).rev() {
        match fs_err::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs_err::rename(&target.path, numbered(1))
}

/// RFC 3339 with exactly nine digits, as docker writes it.
fn timestamp() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// Where to cut so that a character of UTF-8 stays whole.
fn character_boundary(bytes: &[u8]) -> usize {
    let start =
        (bytes.len().saturating_sub(4)..bytes.len()).rev().find(|at| bytes.get(*at).is_some_and(|b| b & 0xc0 != 0x80));
    match start.and_then(|at| Some((at, std::str::from_utf8(bytes.get(at..)?).err()?))) {
        // `error_len` is `None` exactly when the bytes are the beginning of a character.
        Some((at, error)) if error.error_len().is_none() && at > 0 => at,
        _ => bytes.len(),
    }
}

fn encode(line: &[u8], stream: Stream, time: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        escape(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    out.extend_from_slice(format!("\",\"stream\":\"{name}\",\"time\":\"{time}\"}}\n").as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(target: &LogTarget, pieces: &[&[u8]]) -> Vec<serde_json::Value> {
        let mut log = Log::open(target.clone()).unwrap();
        pieces.iter().for_each(|piece| log.write(Stream::Stdout, piece).unwrap());
        log.finish().unwrap();
        let text = fs_err::read_to_string(&target.path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_and_parts() {
        let directory = tempfile::tempdir().unwrap();
        let long = "é".repeat(10_000);
        for (number, (pieces, want)) in [
            (vec!["a\nb", "c\n\n", "d"], vec!["a\n", "bc\n", "\n", "d"]),
            (vec!["\u{1}\"\\\t\r\u{7f}\n"], vec!["\u{1}\"\\\t\r\u{7f}\n"]),
            (vec![long.as_str()], vec![&long[..16 << 10], &long[16 << 10..]]),
            (vec!["x", long.as_str()], vec![&format!("x{}", &long[..(16 << 10) - 2]), &long[(16 << 10) - 2..]]),
        ]
        .into_iter()
        .enumerate()
        {
            let target = LogTarget { path: directory.path().join(number.to_string()), max_size: None, max_files: 1 };
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            let lines = written(&target, &pieces);
            assert_eq!(lines.iter().map(|line| line["log"].as_str().unwrap()).collect::<Vec<_>>(), want);
            for line in lines {
                assert_eq!(line["stream"], "stdout");
                assert_eq!(line["time"].as_str().unwrap().len(), "2026-01-01T00:00:00.000000000Z".len());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let target = LogTarget { path: directory.path().join("log"), max_size: None, max_files: 1 };
        assert_eq!(written(&target, &[b"a\xff\xfeb\n"])[0]["log"], "a\u{fffd}\u{fffd}b\n");
    }

    #[test]
    fn rotation_keeps_the_newest_files() {
        let directory = tempfile::tempdir().unwrap();
        let target = LogTarget { path: directory.path().join("log"), max_size: Some(200), max_files: 3 };
        let mut log = Log::open(target.clone()).unwrap();
        for number in 0..40 {
            log.write(Stream::Stderr, format!("line {number}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> =
            fs_err::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        for name in names {
            assert!(fs_err::metadata(directory.path().join(name)).unwrap().len() <= 200);
        }
        assert!(fs_err::read_to_string(&target.path).unwrap().contains("line 39"));
    }
}
