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
    /// Start every container whose restart policy asks for it when the machine has started
    #[arg(long, conflicts_with_all = ["containers", "attach", "interactive"])]
    pub at_boot: bool,
    /// The containers
    #[arg(required_unless_present = "at_boot", value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
