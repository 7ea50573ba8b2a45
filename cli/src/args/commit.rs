//! `commit`.

use clap::Args;

/// Make an image of a container's changes.
#[derive(Debug, Args)]
pub struct Commit {
    /// Author of the image
    #[arg(short, long)]
    pub author: Option<String>,
    /// Dockerfile instruction for the image's config (may be repeated)
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,
    /// Remark for the history
    #[arg(short, long)]
    pub message: Option<String>,
    /// The container
    pub container: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}
