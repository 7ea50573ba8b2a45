//! `wait`.

use clap::Args;

/// Wait for containers to stop and print their exit codes.
#[derive(Debug, Args)]
pub struct Wait {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
