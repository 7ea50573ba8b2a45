//! `__docs`, for the installer.

use std::path::PathBuf;

use clap::Args;

/// Write man pages and completions into a folder.
#[derive(Debug, Args)]
pub struct Docs {
    /// The folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
