//! `container exists` and `image exists`.

use clap::Args;

/// Exit with 0 if an object is there, else with 1.
#[derive(Debug, Args)]
pub struct Exists {
    /// The name or ID
    #[arg(value_name = "NAME|ID")]
    pub name: String,
}
