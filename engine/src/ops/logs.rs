//! `logs`: reads Docker's json-file logs, rotated files first, and follows the newest.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::build::Stream;
use crate::container::LogDriver;
use crate::store::container_state::monitored;
use crate::{Engine, Error, Kind, Result};

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// Go on until the container stops.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only lines from this time on.
    pub since: Option<Timestamp>,
    /// Only lines up to this time.
    pub until: Option<Timestamp>,
}

/// A line, with its end of line when it had one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which stream wrote it.
    pub stream: Stream,
    /// When, as the log has it (RFC 3339 with nanoseconds).
    pub time: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The lines of a log, one at a time.
#[derive(Debug)]
pub struct LogReader {
    files: Files,
    /// Lines that `tail` has chosen and that have not been handed out.
    chosen: VecDeque<LogLine>,
    request: LogsRequest,
    run: PathBuf,
    /// True when the container was seen to have ended, so that what is read after that is all there will be.
    ended: bool,
}

impl LogReader {
    /// The next line; `None` at the end. With `follow`, waits for more while the container runs. Safe to cancel.
    ///
    /// Reads on the caller's thread: a log is a local file that was just written, and a hop to another thread for each
    /// line costs more than the read.
    pub async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.chosen.pop_front() {
                return Ok(Some(line));
            }
            match self.files.next()? {
                Some(line) if self.is_too_old(&line) => {}
                Some(line) if self.is_too_new(&line) => return Ok(None),
                Some(line) => return Ok(Some(line)),
                None if !self.request.follow || self.ended => return Ok(None),
                // Looked at before the last read: what the container wrote until it ended is there by then.
                None => self.ended = !self.is_running()?,
            }
            if self.request.follow && !self.ended && self.files.is_drained() {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    fn is_running(&self) -> Result<bool> {
        monitored(&self.run)
    }

    fn is_too_old(&self, line: &LogLine) -> bool {
        self.request.since.is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|time| time < since))
    }

    fn is_too_new(&self, line: &LogLine) -> bool {
        self.request.until.is_some_and(|until| line.time.parse::<Timestamp>().is_ok_and(|time| time > until))
    }

    /// Reads to the present end and keeps the last lines.
    fn choose(&mut self, count: u64) -> Result<()> {
        while let Some(line) = self.files.next()? {
            if self.is_too_old(&line) {
                continue;
            }
            if self.is_too_new(&line) {
                break;
            }
            self.chosen.push_back(line);
            if self.chosen.len() as u64 > count {
                self.chosen.pop_front();
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Opens a container's log.
    pub async fn logs(&self, container: &str, request: LogsRequest) -> Result<LogReader> {
        let record = self.container(container).await?.record;
        if record.spec.log.driver == LogDriver::None {
            return Err(Error::refused(Kind::Unsupported, format!("container `{}` keeps no log: its log driver is `none`", record.name)));
        }
        let directories = self.store().directories(&record.id);
        let files = Files::open(directories.log(&record.id));
        let tail = request.tail;
        let mut reader = LogReader { files, chosen: VecDeque::new(), request, run: directories.run, ended: false };
        if let Some(count) = tail {
            reader.choose(count)?;
        }
        Ok(reader)
    }
}

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(50);

/// The files of a log, oldest first, read line by line; the newest may grow and be rotated away meanwhile.
#[derive(Debug)]
struct Files {
    path: PathBuf,
    older: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    /// A line whose end has not been written yet.
    partial: Vec<u8>,
    drained: bool,
}

impl Files {
    fn open(path: PathBuf) -> Self {
        let older = (1..).map(|number| numbered(&path, number)).take_while(|path| path.exists()).collect();
        Self { path, older, current: None, partial: Vec::new(), drained: false }
    }

    fn is_drained(&self) -> bool {
        self.drained
    }

    fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            self.drained = false;
            if self.current.is_none() {
                // The highest number is the oldest file.
                let path = self.older.pop().unwrap_or_else(|| self.path.clone());
                match fs_err::File::open(&path) {
                    Ok(file) => self.current = Some(BufReader::new(file.into_parts().0)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        self.drained = true;
                        return Ok(None);
                    }
                    Err(error) => return Err(Error::io("open", path)(error.into())),
                }
            }
            let Some(current) = &mut self.current else { continue };
            current.read_until(b'\n', &mut self.partial).map_err(Error::io("read", &self.path))?;
            if self.partial.ends_with(b"\n") {
                let line = parse(&self.partial);
                self.partial.clear();
                match line {
                    Some(line) => return Ok(Some(line)),
                    // A line that a crash tore: the others are still worth reading.
                    None => continue,
                }
            }
            if !self.older.is_empty() || self.was_rotated() {
                self.current = None;
                self.partial.clear();
                continue;
            }
            self.drained = true;
            return Ok(None);
        }
    }

    /// True when the file that is being read has lost its name to a new one, and has been read to its end.
    fn was_rotated(&mut self) -> bool {
        let Some(current) = &mut self.current else { return false };
        let own = current.get_ref().metadata().map(|meta| (meta.ino(), meta.len()));
        let named = fs_err::metadata(&self.path).map(|meta| meta.ino());
        match (own, named, current.stream_position()) {
            (Ok((own, length)), Ok(named), Ok(position)) => own != named && position >= length,
            _ => false,
        }
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// One object of the log.
#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    let stream = if entry.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    Some(LogLine { stream, time: entry.time, bytes: entry.log.into_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(files: &mut Files) -> Vec<String> {
        std::iter::from_fn(|| files.next().unwrap()).map(|line| String::from_utf8(line.bytes).unwrap()).collect()
    }

    fn entry(text: &str) -> String {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}}\n")
    }

    #[test]
    fn rotated_files_come_first_and_torn_lines_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        fs_err::write(directory.path().join("log.2"), entry("one")).unwrap();
        fs_err::write(directory.path().join("log.1"), format!("{}{{\"log\":\"to\n", entry("two"))).unwrap();
        fs_err::write(&log, entry("three")).unwrap();
        assert_eq!(lines(&mut Files::open(log)), ["one\n", "two\n", "three\n"]);
    }

    #[test]
    fn what_is_written_after_the_end_was_seen_comes_later() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut files = Files::open(log.clone());
        assert_eq!(lines(&mut files), [""; 0]);
        let text = entry("one");
        fs_err::write(&log, &text[..10]).unwrap();
        assert_eq!(lines(&mut files), [""; 0]);
        fs_err::write(&log, &text).unwrap();
        assert_eq!(lines(&mut files), ["one\n"]);
        fs_err::rename(&log, directory.path().join("log.1")).unwrap();
        fs_err::write(&log, entry("two")).unwrap();
        assert_eq!(lines(&mut files), ["two\n"]);
    }
}
