//! `exec`.

use std::path::PathBuf;

use clap::Args;

use super::values;
use crate::terminal::DetachKeys;

/// Execute a command in a running container.
#[derive(Debug, Args)]
pub struct Exec {
    /// Run in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Keep stdin open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Set an environment variable; a name alone takes its value from here (may be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Give the process all capabilities
    #[arg(long)]
    pub privileged: bool,
    /// Keys that leave the process running
    #[arg(long, value_name = "KEYS", value_parser = values::detach_keys)]
    pub detach_keys: Option<DetachKeys>,
    /// The container, then the command with its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    pub words: Vec<String>,
}
