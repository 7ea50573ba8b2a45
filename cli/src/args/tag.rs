//! `tag`.

use clap::Args;

/// Give an image one more name.
#[derive(Debug, Args)]
pub struct Tag {
    /// The image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub source: String,
    /// Its new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub target: String,
}
