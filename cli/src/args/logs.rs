//! `logs`.

use clap::Args;

/// Show the output of a container.
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on until the container stops
    #[arg(short, long)]
    pub follow: bool,
    /// Put what the log driver's options say before each line
    #[arg(long)]
    pub details: bool,
    /// Put the time before each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only the last so many lines, or all
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all", allow_negative_numbers = true)]
    pub tail: String,
    /// Only lines from a time on: RFC 3339, seconds since 1970, or a span such as 42m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines up to a time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The container
    pub container: String,
}
