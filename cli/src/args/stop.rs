//! `stop` and `restart`.

use clap::Args;

/// Stop running containers.
#[derive(Debug, Args)]
pub struct Stop {
    /// Signal to send first
    #[arg(short, long)]
    pub signal: Option<String>,
    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short, long = "timeout", alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    pub timeout: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Stop and start containers.
#[derive(Debug, Args)]
pub struct Restart {
    /// What `stop` takes.
    #[command(flatten)]
    pub stop: Stop,
}
