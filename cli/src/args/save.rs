//! `save`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mica_engine::Platform;
use mica_engine::ops::save::ArchiveFormat;

/// Save images to an archive or a folder.
#[derive(Debug, Args)]
pub struct Save {
    /// Write to a file or a folder instead of stdout
    #[arg(short, long, value_name = "FILE|FOLDER")]
    pub output: Option<PathBuf>,
    /// Compress the layers that are stored uncompressed
    #[arg(long)]
    pub compress: bool,
    /// Save only the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<Platform>,
    /// Form of the archive or folder
    #[arg(long, default_value = "docker-archive")]
    pub format: Format,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Form of an archive or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// What `docker load` reads, which is also an OCI layout.
    DockerArchive,
    /// An OCI layout alone.
    OciArchive,
    /// An OCI layout in a folder.
    OciDir,
    /// One image in a folder, as skopeo's `dir:` has it.
    DockerDir,
}

impl Format {
    /// True for those that are folders.
    pub fn is_folder(self) -> bool {
        matches!(self, Self::OciDir | Self::DockerDir)
    }
}

impl From<Format> for ArchiveFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::DockerArchive => Self::Docker,
            Format::OciArchive | Format::OciDir => Self::Oci,
            Format::DockerDir => Self::DockerDir,
        }
    }
}
