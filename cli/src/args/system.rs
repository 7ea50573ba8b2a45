//! `system check` and `system df`.

use clap::Args;

/// Compare the store's records with its disk, and every byte with its digest.
///
/// Exits with 0 when nothing is wrong or everything has been repaired (left-overs are not wrong), with 1 when damage is
/// left, and with 125 when the check itself could not be done.
#[derive(Debug, Args)]
pub struct Check {
    /// `json`: one document with everything that was found
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub format: Option<String>,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Compare records, names and sizes only: read no content, open no layer
    #[arg(long)]
    pub quick: bool,
    /// Unpack damaged layers again, write lost blobs again where their layers allow it, and remove garbage
    #[arg(long)]
    pub repair: bool,
}

/// Show what takes how much of the disk.
#[derive(Debug, Args)]
pub struct Df {
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Every image, container and volume, with what it shares
    #[arg(short, long)]
    pub verbose: bool,
}
