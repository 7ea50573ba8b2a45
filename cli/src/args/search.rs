//! `search`.

use clap::Args;

/// Search a registry for images.
#[derive(Debug, Args)]
pub struct Search {
    /// Only those that match: stars=NUMBER, is-official=BOOL (may be repeated)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// At most so many results from each registry
    #[arg(long, value_name = "NUMBER", default_value_t = 25, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub limit: u8,
    /// Do not cut descriptions short
    #[arg(long)]
    pub no_trunc: bool,
    /// What to look for, after `REGISTRY/` if it is not the usual one
    pub term: String,
}
