//! `commit`.

use clap::{ArgAction, Args};

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
    /// Hold the container's processes still while their files are read
    #[arg(short, long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub pause: bool,
    /// Let the container's processes go on meanwhile
    #[arg(long)]
    pub no_pause: bool,
    /// The container
    pub container: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}
