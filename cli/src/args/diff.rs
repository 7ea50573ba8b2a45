//! `diff`.

use clap::Args;

/// Show what a container changed in its file system.
#[derive(Debug, Args)]
pub struct Diff {
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// The container
    pub container: String,
    /// A container or image to compare with instead of the container's own image
    #[arg(value_name = "CONTAINER|IMAGE")]
    pub other: Option<String>,
}
