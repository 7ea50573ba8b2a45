//! `inspect`, `container inspect` and `image inspect`.

use clap::{Args, ValueEnum};
use mica_engine::Platform;

/// Show everything about images, containers and volumes.
#[derive(Debug, Args)]
pub struct Inspect {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Also the sizes of containers
    #[arg(short, long)]
    pub size: bool,
    /// Only objects of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<ObjectType>,
    /// The images and containers
    #[arg(required = true, value_name = "NAME|ID")]
    pub names: Vec<String>,
}

/// A type of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ObjectType {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// Show everything about containers.
#[derive(Debug, Args)]
pub struct InspectContainers {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Also their sizes
    #[arg(short, long)]
    pub size: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub names: Vec<String>,
}

/// Show everything about images.
#[derive(Debug, Args)]
pub struct InspectImages {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Ask the registry instead of the store
    #[arg(long)]
    pub remote: bool,
    /// Print what the name stands for as the registry has it: a manifest or an index
    #[arg(long, requires = "remote", conflicts_with = "format")]
    pub raw: bool,
    /// The image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", requires = "remote")]
    pub platform: Option<Platform>,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub names: Vec<String>,
}
