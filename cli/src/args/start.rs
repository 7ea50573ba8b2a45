//! `start`.

use clap::Args;

use super::values;
use crate::terminal::DetachKeys;

/// Start stopped containers.
#[derive(Debug, Args)]
pub struct Start {
    /// Attach to stdout and stderr, and pass signals on
    #[arg(short, long)]
    pub attach: bool,
    /// Attach to stdin
    #[arg(short, long)]
    pub interactive: bool,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS", value_parser = values::detach_keys)]
    pub detach_keys: Option<DetachKeys>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
