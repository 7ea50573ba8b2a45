//! `wait`: the exit code of a container, now or when it comes, or until something else holds.

use std::time::Duration;

use crate::container::{ContainerState, HealthStatus, RestartPolicy};
use crate::{Engine, Error, Kind, Result};

/// How long to wait before looking again at what nobody is told of.
const PAUSE: Duration = Duration::from_millis(50);

/// What is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run.
    #[default]
    NotRunning,
    /// The next end of its process, also of one that is yet to be started.
    NextExit,
    /// That it is gone.
    Removed,
    /// That it runs.
    Running,
    /// That it stands still.
    Paused,
    /// This verdict of its health checks.
    Health(HealthStatus),
}

impl WaitCondition {
    /// Parses Docker's words, and Podman's for what else can be waited for.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "" | "not-running" | "stopped" | "exited" => Self::NotRunning,
            "next-exit" => Self::NextExit,
            "removed" => Self::Removed,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "healthy" => Self::Health(HealthStatus::Healthy),
            "unhealthy" => Self::Health(HealthStatus::Unhealthy),
            _ => {
                let message = format!("invalid condition: `{}`", text.escape_debug());
                return Err(Error::refused(Kind::InvalidInput, message).with_hint(
                    "the conditions are not-running, next-exit, removed, running, paused, healthy and unhealthy",
                ));
            }
        })
    }
}

impl Engine {
    /// Waits until something holds of a container and returns its exit code, which is 0 while it has none. A container that
    /// ends before it can become healthy is an error.
    pub async fn wait_for(&self, container: &str, condition: WaitCondition) -> Result<i32> {
        // By its ID from here on: its name may become another container's.
        let id = self.look_up(container).await?.0.id;
        match condition {
            WaitCondition::NotRunning => self.wait(&id).await,
            WaitCondition::NextExit => {
                while !self.look_up(&id).await?.1.is_running() {
                    tokio::time::sleep(PAUSE).await;
                }
                self.wait(&id).await
            }
            WaitCondition::Removed => {
                let code = self.wait(&id).await?;
                loop {
                    match self.look_up(&id).await {
                        Err(error) if error.kind() == Kind::NotFound => return Ok(code),
                        Err(error) => return Err(error),
                        Ok(_) => tokio::time::sleep(PAUSE).await,
                    }
                }
            }
            condition => loop {
                let summary = self.container(&id).await?;
                let holds = match condition {
                    WaitCondition::Running => matches!(summary.state, ContainerState::Running { .. }),
                    WaitCondition::Paused => matches!(summary.state, ContainerState::Paused { .. }),
                    WaitCondition::Health(status) => {
                        if !summary.state.is_running() || summary.record.health_check().is_none() {
                            let message = format!("container `{id}` does not run, or has no health check");
                            return Err(Error::refused(Kind::Conflict, message));
                        }
                        summary.health.is_some_and(|health| health.status == status)
                    }
                    _ => true,
                };
                if holds {
                    return Ok(summary.state.exit_code());
                }
                tokio::time::sleep(PAUSE).await;
            },
        }
    }

    /// Waits until a container's process has ended, whether or not another follows it, and returns its exit code.
    pub async fn wait(&self, container: &str) -> Result<i32> {
        let (record, state) = self.look_up(container).await?;
        if !state.is_running() {
            return Ok(state.exit_code());
        }
        let run = self.store().directories(&record.id).run;
        // The record of a container with `--rm` goes with it, and the monitor of one that is started again does not go: of
        // both the code is heard from the monitor itself.
        if (record.spec.auto_remove || record.spec.restart != RestartPolicy::No)
            && let Some(code) = self.options().runtime.next_exit(&run).await?
        {
            return Ok(code);
        }
        self.options().runtime.wait(&run).await?;
        let (_, state) = self.look_up(&record.id).await?;
        Ok(state.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_have_words() {
        for (text, condition) in [
            ("not-running", WaitCondition::NotRunning),
            ("next-exit", WaitCondition::NextExit),
            ("removed", WaitCondition::Removed),
            ("healthy", WaitCondition::Health(HealthStatus::Healthy)),
        ] {
            assert_eq!(WaitCondition::parse(text).unwrap(), condition);
        }
        assert_eq!(WaitCondition::parse("asleep").unwrap_err().kind(), Kind::InvalidInput);
    }
}
