//! `version`.

use clap::Args;

/// Show the version.
#[derive(Debug, Args)]
pub struct Version {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}
