//! `pause` and `unpause`.

use clap::Args;

/// Make containers stand still, or go on.
#[derive(Debug, Args)]
pub struct Pause {
    /// All that can be
    #[arg(short, long, conflicts_with = "containers")]
    pub all: bool,
    /// The containers
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
