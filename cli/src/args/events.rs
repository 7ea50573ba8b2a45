//! `events`.

use clap::Args;

/// Show what happens to containers and images.
#[derive(Debug, Args)]
pub struct Events {
    /// Only what matches, for example event=die (may be repeated)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Also what happened from a time on: RFC 3339, seconds since 1970, or a span such as 42m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only up to a time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}
