//! `pull`.

use clap::Args;
use mica_engine::Platform;

/// Pull an image from a registry.
#[derive(Debug, Args)]
pub struct Pull {
    /// Pull all tags of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Pull the images for all platforms
    #[arg(long, conflicts_with = "platform")]
    pub all_platforms: bool,
    /// Pull the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<Platform>,
    /// Print nothing but the name
    #[arg(short, long)]
    pub quiet: bool,
    /// The image's name
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
}
