//! `run`, and what takes over when its client leaves early.

use clap::{ArgAction, Args};

use super::container::ContainerArgs;
use super::values;
use crate::terminal::DetachKeys;

/// Create and run a new container from an image.
#[derive(Debug, Args)]
pub struct Run {
    /// Run in the background and print the container's ID
    #[arg(short, long)]
    pub detach: bool,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS", value_parser = values::detach_keys)]
    pub detach_keys: Option<DetachKeys>,
    /// Pass received signals on to the process
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub sig_proxy: bool,
    /// The container.
    #[command(flatten)]
    pub container: ContainerArgs,
}

/// Wait for a container and remove it if it was made with `--rm`.
#[derive(Debug, Args)]
pub struct Finish {
    /// The container
    pub id: String,
}
