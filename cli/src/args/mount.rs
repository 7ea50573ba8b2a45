//! `mount` and `unmount`.

use clap::Args;

/// Mount the roots of containers on the host.
#[derive(Debug, Args)]
pub struct Mount {
    /// All containers
    #[arg(short, long, conflicts_with = "containers")]
    pub all: bool,
    /// The containers; without any, those that are mounted are listed
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Take the roots of containers away from the host.
#[derive(Debug, Args)]
pub struct Unmount {
    /// All that are mounted
    #[arg(short, long, conflicts_with = "containers")]
    pub all: bool,
    /// The containers
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
