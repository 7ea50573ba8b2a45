//! `images`.

use clap::Args;

/// List images.
#[derive(Debug, Args)]
pub struct Images {
    /// Accepted for scripts: there are no intermediate images to show
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Only those that match, for example dangling=true (may be repeated)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Do not cut values short
    #[arg(long)]
    pub no_trunc: bool,
    /// Only IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// Show the platforms that each name stands for, and what each takes of the disk
    #[arg(long, conflicts_with_all = ["digests", "format", "quiet"])]
    pub tree: bool,
    /// Only images of this repository, or with this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}
