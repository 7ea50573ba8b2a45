//! `stop`: a polite signal, some patience, and `SIGKILL`.

use std::time::Duration;

use super::kill::parse_signal;
use crate::container::ContainerRecord;
use crate::{Engine, Kind, Result};

/// Docker's patience.
const GRACE: i64 = 10;
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// How to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Signal by name or number; the container's own when `None`.
    pub signal: Option<String>,
    /// Seconds to wait; the container's own when `None`, for ever when negative.
    pub timeout: Option<i64>,
}

impl Engine {
    /// Stops a container. One that does not run is left alone.
    pub async fn stop(&self, container: &str, options: StopOptions) -> Result<()> {
        let asked = options.signal.as_deref().map(parse_signal).transpose()?;
        let (record, state) = self.look_up(container).await?;
        if !state.is_running() {
            return Ok(());
        }
        let signal = match (asked, &record.config.stop_signal) {
            (Some(signal), _) => signal,
            // An image may name a signal that does not exist; that must not make its containers unstoppable.
            (None, Some(name)) => parse_signal(name).unwrap_or(SIGTERM),
            (None, None) => SIGTERM,
        };
        let run = self.store().directories(&record.id).run;
        match self.options().runtime.kill(&run, signal).await {
            Err(error) if error.kind() == Kind::Conflict => return self.options().runtime.wait(&run).await,
            result => result?,
        }
        let ended = self.options().runtime.wait(&run);
        match options.timeout.or(record.spec.stop_timeout).unwrap_or(GRACE) {
            ..0 => ended.await,
            seconds => match tokio::time::timeout(Duration::from_secs(seconds.unsigned_abs()), ended).await {
                Ok(result) => result,
                Err(_) => self.kill_and_wait(&record).await,
            },
        }
    }

    /// Kills a container and waits for its monitor. One that is gone already is fine.
    pub(crate) async fn kill_and_wait(&self, record: &ContainerRecord) -> Result<()> {
        let run = self.store().directories(&record.id).run;
        match self.options().runtime.kill(&run, SIGKILL).await {
            Err(error) if error.kind() != Kind::Conflict => return Err(error),
            _ => {}
        }
        self.options().runtime.wait(&run).await
    }
}
