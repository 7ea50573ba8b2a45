//! `history`.

use clap::{ArgAction, Args};

/// Show the steps an image was made by.
#[derive(Debug, Args)]
pub struct History {
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Sizes and times for people
    #[arg(short = 'H', long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub human: bool,
    /// Do not cut values short
    #[arg(long)]
    pub no_trunc: bool,
    /// Only IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// The image
    pub image: String,
}
