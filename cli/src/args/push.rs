//! `push`.

use clap::Args;
use mica_engine::Platform;
use mica_layer::Packing;

/// Push an image to a registry.
#[derive(Debug, Args)]
pub struct Push {
    /// Push all tags of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// How layers that are not compressed yet are: gzip, gzip:N, zstd, zstd:N or none
    #[arg(long, value_name = "FORMAT[:LEVEL]")]
    pub compression: Option<Packing>,
    /// Compress layers anew that are compressed already
    #[arg(long)]
    pub force_compression: bool,
    /// Push the image for this platform alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<Platform>,
    /// Print nothing but the name
    #[arg(short, long)]
    pub quiet: bool,
    /// Taken for the sake of scripts; names are not signed here
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_content_trust: Option<bool>,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}
