//! `system check` and `system df`.

use clap::Args;

/// Compare the store's records with its disk, and every byte with its digest.
#[derive(Debug, Args)]
pub struct Check {
    /// Compare names only; read no content
    #[arg(long)]
    pub quick: bool,
    /// Rebuild what can be rebuilt and remove garbage
    #[arg(long)]
    pub repair: bool,
}

/// Show what takes how much of the disk.
#[derive(Debug, Args)]
pub struct Df {
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}
