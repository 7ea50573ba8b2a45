//! `kill`.

use clap::Args;

/// Send a signal to running containers.
#[derive(Debug, Args)]
pub struct Kill {
    /// Signal to send
    #[arg(short, long, default_value = "KILL")]
    pub signal: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
