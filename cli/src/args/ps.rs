//! `ps`.

use clap::Args;

/// List containers.
#[derive(Debug, Args)]
pub struct Ps {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,
    /// Only those that match, for example status=exited (may be repeated)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// The last so many created, in any state
    #[arg(short = 'n', long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub last: Option<i64>,
    /// The last one created, in any state
    #[arg(short, long)]
    pub latest: bool,
    /// Do not cut values short
    #[arg(long)]
    pub no_trunc: bool,
    /// Only IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// Also sizes
    #[arg(short, long)]
    pub size: bool,
}
