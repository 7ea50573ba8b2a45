//! `save`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mica_engine::ops::save::ArchiveFormat;

/// Save images to an archive.
#[derive(Debug, Args)]
pub struct Save {
    /// Write to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Form of the archive
    #[arg(long, default_value = "docker-archive")]
    pub format: Format,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// What `docker load` reads, which is also an OCI layout.
    DockerArchive,
    /// An OCI layout alone.
    OciArchive,
}

impl From<Format> for ArchiveFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::DockerArchive => Self::Docker,
            Format::OciArchive => Self::Oci,
        }
    }
}
