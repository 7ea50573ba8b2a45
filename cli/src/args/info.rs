//! `info`.

use clap::Args;

/// Show the store, its driver and this machine.
#[derive(Debug, Args)]
pub struct Info {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}
