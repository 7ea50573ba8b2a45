//! `image copy`.

use clap::Args;
use mica_engine::Platform;
use mica_engine::ops::copy_image::Place;

const PLACES: &str = "\
Places:
  docker://NAME[:TAG|@DIGEST]   a registry
  oci:FOLDER[:TAG]              an OCI layout
  oci-archive:FILE[:TAG]        an OCI layout as an archive
  docker-archive:FILE[:NAME]    what `docker load` reads
  dir:FOLDER                    one image in a folder";

/// Copy an image between registries, layouts and archives.
#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub struct ImageCopy {
    /// Copy the images for all platforms, and the index
    #[arg(short, long, conflicts_with = "platform")]
    pub all: bool,
    /// Copy the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<Platform>,
    /// Print nothing but the digest
    #[arg(short, long)]
    pub quiet: bool,
    /// Where the image is
    #[arg(value_name = "SOURCE", value_parser = place)]
    pub source: Place,
    /// Where it goes
    #[arg(value_name = "TARGET", value_parser = place)]
    pub target: Place,
}

/// Clap shows no hints of ours.
fn place(text: &str) -> Result<Place, String> {
    text.parse().map_err(|error: mica_engine::Error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}
