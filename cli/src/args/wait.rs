//! `wait`.

use clap::Args;
use mica_engine::ops::wait::WaitCondition;

/// Wait for containers to stop and print their exit codes.
#[derive(Debug, Args)]
pub struct Wait {
    /// What to wait for: not-running, next-exit, removed, running, paused, healthy or unhealthy
    #[arg(long, value_name = "CONDITION", default_value = "not-running", value_parser = condition)]
    pub condition: WaitCondition,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

fn condition(text: &str) -> Result<WaitCondition, String> {
    WaitCondition::parse(text).map_err(|error| error.to_string())
}
