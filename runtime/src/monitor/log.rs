//! The container's log: output cut into lines, long ones into parts of 16 KiB, and handed to where they are kept.

mod file;
mod journal;
mod pack;

use std::io;

use mica_engine::runtime::LogTarget;
use mica_runtime::frame::Stream;

use file::LogFiles;
use journal::Journal;

/// The longest part of a line that one entry holds; readers join parts until a newline comes.
const PART: usize = 16 << 10;

/// An open log.
#[derive(Debug)]
pub struct Log {
    sink: Sink,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Debug)]
enum Sink {
    Files(Box<LogFiles>),
    Journal(Journal),
}

impl Log {
    /// Opens the log to append to it: a container that is started again continues its log.
    pub fn open(target: LogTarget) -> io::Result<Self> {
        let sink = match target {
            LogTarget::Files(target) => Sink::Files(Box::new(LogFiles::open(target)?)),
            LogTarget::Journal(target) => Sink::Journal(Journal::open(&target)?),
        };
        Ok(Self { sink, stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Adds output.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.sink.begin();
        let mut pending = std::mem::take(self.pending(stream));
        let mut rest = bytes;
        while !rest.is_empty() {
            let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let (piece, after) = rest.split_at(line.min(PART - pending.len()));
            rest = after;
            if pending.is_empty() && piece.ends_with(b"\n") {
                self.sink.add(stream, piece)?;
                continue;
            }
            pending.extend_from_slice(piece);
            if pending.ends_with(b"\n") {
                self.sink.add(stream, &pending)?;
                pending.clear();
            } else if pending.len() >= PART {
                let cut = character_boundary(&pending);
                self.sink.add(stream, pending.get(..cut).unwrap_or_default())?;
                pending.drain(..cut);
            }
        }
        *self.pending(stream) = pending;
        self.sink.flush()
    }

    /// Writes what has no newline yet; nothing more will come.
    pub fn finish(&mut self) -> io::Result<()> {
        self.sink.begin();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = std::mem::take(self.pending(stream));
            if !pending.is_empty() {
                self.sink.add(stream, &pending)?;
            }
        }
        self.sink.flush()
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr }
    }
}

impl Sink {
    /// What is added next comes at one time.
    fn begin(&mut self) {
        if let Self::Files(files) = self {
            files.begin();
        }
    }

    /// Adds a line with its newline, or a part of one.
    fn add(&mut self, stream: Stream, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Files(files) => {
                files.add(stream, line);
                Ok(())
            }
            Self::Journal(journal) => journal.send(stream, line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Files(files) => files.flush(),
            Self::Journal(_) => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use mica_engine::runtime::LogFilesTarget;

    use super::*;

    fn files(path: PathBuf, max_size: Option<u64>, max_files: u32) -> LogFilesTarget {
        LogFilesTarget { path, max_size, max_files, compress: false, attributes: BTreeMap::new() }
    }

    fn written(target: &LogFilesTarget, pieces: &[&[u8]]) -> Vec<serde_json::Value> {
        let mut log = Log::open(LogTarget::Files(target.clone())).unwrap();
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
            let target = files(directory.path().join(number.to_string()), None, 1);
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
    fn attributes_stand_in_every_entry() {
        let directory = tempfile::tempdir().unwrap();
        let mut target = files(directory.path().join("log"), None, 1);
        target.attributes.insert("tag".into(), "a\"b".into());
        assert_eq!(written(&target, &[b"x\n"])[0]["attrs"]["tag"], "a\"b");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let target = files(directory.path().join("log"), None, 1);
        assert_eq!(written(&target, &[b"a\xff\xfeb\n"])[0]["log"], "a\u{fffd}\u{fffd}b\n");
    }

    #[test]
    fn rotation_keeps_the_newest_files() {
        let directory = tempfile::tempdir().unwrap();
        let target = files(directory.path().join("log"), Some(200), 3);
        let mut log = Log::open(LogTarget::Files(target.clone())).unwrap();
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

    #[test]
    fn all_but_the_newest_are_compressed() {
        use std::io::Read as _;
        let directory = tempfile::tempdir().unwrap();
        let target = LogFilesTarget { compress: true, ..files(directory.path().join("log"), Some(200), 3) };
        let mut log = Log::open(LogTarget::Files(target.clone())).unwrap();
        // One that was left from before the option was given.
        fs_err::write(directory.path().join("log.2"), "old").unwrap();
        for number in 0..40 {
            log.write(Stream::Stderr, format!("line {number}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> =
            fs_err::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.1.gz", "log.2.gz"]);
        let packed = fs_err::File::open(directory.path().join("log.1.gz")).unwrap();
        let mut decoder = flate2::read::GzDecoder::new(packed);
        let mut text = String::new();
        decoder.read_to_string(&mut text).unwrap();
        assert!(text.lines().count() == 2 && text.contains("line 37"), "{text}");
        let inode = decoder.header().and_then(|header| header.comment()).map(|comment| comment.to_vec());
        assert!(inode.is_some_and(|inode| !inode.is_empty() && inode.iter().all(u8::is_ascii_digit)));
    }

    #[test]
    fn a_large_file_is_compressed_while_the_next_one_grows() {
        let directory = tempfile::tempdir().unwrap();
        let target = LogFilesTarget { compress: true, ..files(directory.path().join("log"), Some(1 << 20), 3) };
        let there = |name: &str| directory.path().join(name).exists();
        let line = [&[b'x'; 10_000][..], b"\n"].concat();
        let mut log = Log::open(LogTarget::Files(target.clone())).unwrap();
        let until = |log: &mut Log, name: &str| {
            let mut written = 0;
            while !there(name) {
                log.write(Stream::Stdout, &line).unwrap();
                written += line.len();
                assert!(written < 2 << 20, "no {name}");
            }
            written
        };
        until(&mut log, "log.1");
        assert!(there("log.1.partial") && !there("log.1.gz"));
        // The monitor ends meanwhile, and another one goes on with the log.
        drop(log);
        let mut log = Log::open(LogTarget::Files(target)).unwrap();
        let written = until(&mut log, "log.1.gz");
        assert!(!there("log.1") && !there("log.1.partial"));
        assert!((100_000..300_000).contains(&written), "it took {written} bytes");
    }
}
