//! `logs`: reads Docker's json-file logs, rotated files first, and follows the newest.

use jiff::Timestamp;

use crate::build::Stream;
use crate::{Engine, Result};

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
pub struct LogReader {}

impl LogReader {
    /// The next line; `None` at the end. With `follow`, waits for more while the container runs. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<LogLine>> {
        todo!()
    }
}

impl Engine {
    /// Opens a container's log.
    pub async fn logs(&self, container: &str, request: LogsRequest) -> Result<LogReader> {
        let _ = (container, request);
        todo!()
    }
}
