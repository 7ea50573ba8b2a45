//! The flags of health checks that `run` and `create` share.

use std::time::Duration;

use clap::Args;
use mica_engine::container::{HealthCheck, parse_duration};

/// How the container's health is checked. What is not stated comes from the image.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Command that checks the container's health, for its shell
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time from one check to the next, for example 1m30s (30s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_interval: Option<Duration>,
    /// How many failures in a row make it unhealthy (3)
    #[arg(long, value_name = "NUMBER")]
    pub health_retries: Option<u32>,
    /// How long after the start failures do not count (0s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_start_period: Option<Duration>,
    /// Time from one check to the next during the start period (5s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_start_interval: Option<Duration>,
    /// How long a check may take (30s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_timeout: Option<Duration>,
    /// Make no health checks, whatever the image says
    #[arg(long, conflicts_with_all = ["health_cmd", "health_interval", "health_retries", "health_start_period", "health_start_interval", "health_timeout"])]
    pub no_healthcheck: bool,
}

impl HealthArgs {
    /// What was asked for; `None` when nothing was.
    pub fn check(&self) -> Option<HealthCheck> {
        let nanoseconds = |duration: Option<Duration>| duration.map_or(0, |duration| duration.as_nanos() as u64);
        let shell = |command: &String| vec!["CMD-SHELL".to_owned(), command.clone()];
        let none = || vec!["NONE".to_owned()];
        let check = HealthCheck {
            test: if self.no_healthcheck { Some(none()) } else { self.health_cmd.as_ref().map(shell) },
            interval: nanoseconds(self.health_interval),
            timeout: nanoseconds(self.health_timeout),
            start_period: nanoseconds(self.health_start_period),
            start_interval: nanoseconds(self.health_start_interval),
            retries: self.health_retries.unwrap_or(0).into(),
        };
        (check != HealthCheck::default()).then_some(check)
    }
}
