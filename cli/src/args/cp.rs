//! `cp`.

use clap::Args;

/// Copy files between a container and the host.
#[derive(Debug, Args)]
pub struct Cp {
    /// Keep owners
    #[arg(short, long)]
    pub archive: bool,
    /// Follow a symbolic link in the source path
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
    /// CONTAINER:PATH, PATH, or - for a tar stream on stdin
    pub source: String,
    /// CONTAINER:PATH, PATH, or - for a tar stream on stdout
    pub target: String,
}
