//! `attach`.

use clap::{ArgAction, Args};

use super::values;
use crate::terminal::DetachKeys;

/// Attach to a running container's streams.
#[derive(Debug, Args)]
pub struct Attach {
    /// Do not attach stdin
    #[arg(long)]
    pub no_stdin: bool,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS", value_parser = values::detach_keys)]
    pub detach_keys: Option<DetachKeys>,
    /// Pass received signals on to the process
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub sig_proxy: bool,
    /// The container
    pub container: String,
}
