//! `stats`.

use clap::Args;

/// Show what containers use.
#[derive(Debug, Args)]
pub struct Stats {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Look once
    #[arg(long)]
    pub no_stream: bool,
    /// Do not cut values short
    #[arg(long)]
    pub no_trunc: bool,
    /// The containers; all that run when none is named
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
