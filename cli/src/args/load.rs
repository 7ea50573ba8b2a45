//! `load`.

use std::path::PathBuf;

use clap::Args;

/// Load images from an archive or a folder.
#[derive(Debug, Args)]
pub struct Load {
    /// Read from a file or a folder instead of stdin
    #[arg(short, long, value_name = "FILE|FOLDER")]
    pub input: Option<PathBuf>,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
}
