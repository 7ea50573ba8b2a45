//! `logs`: reads Docker's json-file logs, rotated files first, and follows the newest.

mod file;
mod part;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::build::Stream;
use crate::container::{ContainerRecord, LogDriver};
use crate::{Engine, Error, Kind, Result};
use file::LogFiles;

/// How long a follower waits before it looks again.
const PAUSE: Duration = Duration::from_millis(50);

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
    /// What the options of the log driver say beside it.
    pub attributes: BTreeMap<String, String>,
}

/// The lines of a log, some at a time.
#[derive(Debug)]
pub struct LogReader {
    engine: Engine,
    record: ContainerRecord,
    follow: bool,
    // Shared with the thread that reads, so that a cancelled `next` loses nothing.
    progress: Arc<Mutex<Progress>>,
}

#[derive(Debug)]
struct Progress {
    files: LogFiles,
    ready: Vec<LogLine>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    ended: bool,
    // The container was seen not to run; what is in the log now is all there will be.
    last_look: bool,
}

impl LogReader {
    /// The next lines, as many as are at hand; none at the end. With `follow`, waits for more while the container runs. Safe
    /// to cancel.
    pub async fn next(&mut self) -> Result<Vec<LogLine>> {
        loop {
            if let Some(found) = self.take() {
                return Ok(found);
            }
            let (progress, record, follow) = (Arc::clone(&self.progress), self.record.clone(), self.follow);
            let more = self
                .engine
                .blocking(move |engine| {
                    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                    let more = progress.read()?;
                    if !more && (!follow || progress.last_look) {
                        progress.ended = true;
                    } else if !more {
                        // A container that was removed meanwhile has ended too.
                        let running =
                            engine.store().find_container(&record.id).is_ok() && engine.state_of(&record)?.is_running();
                        progress.last_look = !running;
                    }
                    Ok(more || progress.last_look || progress.ended)
                })
                .await?;
            if !more {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// What has been read; nothing when there is nothing yet.
    fn take(&self) -> Option<Vec<LogLine>> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut progress.ready);
        (!lines.is_empty() || progress.ended).then_some(lines)
    }
}

impl Progress {
    /// Reads some lines; false when there are none now.
    fn read(&mut self) -> Result<bool> {
        let lines = self.files.read()?;
        let more = !lines.is_empty();
        for line in lines {
            let time = line.time.parse::<Timestamp>().ok();
            if time.zip(self.until).is_some_and(|(time, until)| time > until) {
                self.ended = true;
                break;
            }
            if time.zip(self.since).is_none_or(|(time, since)| time >= since) {
                self.ready.push(line);
            }
        }
        Ok(more)
    }
}

impl Engine {
    /// Opens a container's log.
    pub async fn logs(&self, container: &str, request: LogsRequest) -> Result<LogReader> {
        let (record, _) = self.look_up(container).await?;
        let unreadable = || Error::refused(Kind::Unsupported, "configured logging driver does not support reading");
        match record.spec.log.driver {
            LogDriver::JsonFile | LogDriver::Local => {}
            LogDriver::Journald => {
                let hint = format!("the journal has it: `journalctl CONTAINER_ID_FULL={}`", record.id);
                return Err(unreadable().with_hint(hint));
            }
            LogDriver::None => return Err(unreadable()),
        }
        let path: PathBuf = self.store().directories(&record.id).log(&record.id);
        let LogsRequest { follow, tail, since, until } = request;
        let files = self.blocking(move |_| LogFiles::open(path, tail)).await?;
        let progress = Progress { files, ready: Vec::new(), since, until, ended: false, last_look: false };
        Ok(LogReader { engine: self.clone(), record, follow, progress: Arc::new(Mutex::new(progress)) })
    }
}
