//! `rm`.

use clap::Args;

/// Remove containers.
#[derive(Debug, Args)]
pub struct Rm {
    /// Kill containers that run
    #[arg(short, long)]
    pub force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
