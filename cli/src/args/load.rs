//! `load`.

use std::path::PathBuf;

use clap::Args;

/// Load images from an archive.
#[derive(Debug, Args)]
pub struct Load {
    /// Read from a file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
}
