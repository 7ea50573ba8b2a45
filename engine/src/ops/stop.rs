//! `stop`: a polite signal, some patience, and `SIGKILL`.

use std::time::Duration;

use super::kill::parse_signal;
use crate::container::ContainerRecord;
use crate::events::Actor;
use crate::{Engine, Kind, Result};

/// Docker's patience.
const GRACE: i64 = 10;
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// How long a monitor without a process is given before the signal is sent again.
const BETWEEN: Duration = Duration::from_millis(200);

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
        if !self.end_with(&record, signal).await? {
            return Ok(());
        }
        let run = self.store().directories(&record.id).run;
        let ended = self.options().runtime.wait(&run);
        let stopped = match options.timeout.or(record.spec.stop_timeout).unwrap_or(GRACE) {
            ..0 => ended.await,
            seconds => match tokio::time::timeout(Duration::from_secs(seconds.unsigned_abs()), ended).await {
                Ok(result) => result,
                Err(_) => self.kill_and_wait(&record).await,
            },
        };
        stopped?;
        self.tell_of(&record, "stop");
        Ok(())
    }

    /// Kills a container and waits for its monitor. One that is gone already is fine.
    pub(crate) async fn kill_and_wait(&self, record: &ContainerRecord) -> Result<()> {
        self.end_with(record, SIGKILL).await?;
        self.options().runtime.wait(&self.store().directories(&record.id).run).await
    }

    /// Sends a signal that is to be the last, and sees to it that no other process follows. False when the monitor is gone.
    async fn end_with(&self, record: &ContainerRecord, signal: i32) -> Result<bool> {
        self.mark_stopped(record)?;
        // Before the signal, or the end that it leads to could be told first.
        self.tell("container", "kill", Actor::container(record).with("signal", signal));
        let run = self.store().directories(&record.id).run;
        loop {
            match self.options().runtime.kill(&run, signal).await {
                Err(error) if error.kind() == Kind::Conflict => {}
                result => {
                    result?;
                    // What stands still would not notice.
                    let record = record.clone();
                    return self.blocking(move |engine| engine.thaw(&record)).await.map(|()| true);
                }
            }
            // The process has ended. Either its monitor is about to go, or it is about to start another one, which it looks
            // at the mark before and which a second signal would find.
            self.options().runtime.wake(&run);
            if tokio::time::timeout(BETWEEN, self.options().runtime.wait(&run)).await.is_ok() {
                return Ok(false);
            }
        }
    }
}
