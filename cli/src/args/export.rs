//! `export`.

use std::path::PathBuf;

use clap::Args;

/// Export a container's file system as a tar archive.
#[derive(Debug, Args)]
pub struct Export {
    /// Write to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The container
    pub container: String,
}
