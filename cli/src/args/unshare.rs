//! `unshare`.

use clap::Args;

/// Run a command in the user namespace in which a user without privileges has containers.
#[derive(Debug, Args)]
pub struct Unshare {
    /// Also enter the network namespace with the bridges of the user's networks
    #[arg(long)]
    pub rootless_netns: bool,
    /// The command and its arguments; the user's shell without any
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
