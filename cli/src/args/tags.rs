//! `image tags`.

use clap::Args;

/// List the tags that a repository has in its registry.
#[derive(Debug, Args)]
pub struct Tags {
    /// table, `table TEMPLATE`, json, or a Go template; a tag a line when there is none
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// The repository
    pub repository: String,
}
