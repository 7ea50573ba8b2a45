//! `rmi`.

use clap::Args;

/// Remove images.
#[derive(Debug, Args)]
pub struct Rmi {
    /// Also images with several names, or of stopped containers
    #[arg(short, long)]
    pub force: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}
