//! `build`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values;

/// Build an image from a Dockerfile.
#[derive(Debug, Args)]
pub struct Build {
    /// Name of the image (may be repeated)
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub tags: Vec<String>,
    /// The Dockerfile, or - for stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Set a build argument; a name alone takes its value from here (may be repeated)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Do not use the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Network of RUN steps: none, host, or a network
    #[arg(long, value_name = "NETWORK", value_parser = values::build_network)]
    pub network: Option<String>,
    /// Set a label of the image (may be repeated)
    #[arg(long = "label", value_name = "NAME[=VALUE]")]
    pub labels: Vec<String>,
    /// Write the image's ID to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Print the image's ID and nothing else
    #[arg(short, long)]
    pub quiet: bool,
    /// How to show progress
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    pub progress: Progress,
    /// Always ask a registry for base images
    #[arg(long)]
    pub pull: bool,
    /// Platform, os/arch[/variant]; several between commas make a list of images
    #[arg(long, value_name = "PLATFORM[,PLATFORM]")]
    pub platform: Option<String>,
    /// Add a line to /etc/hosts of RUN steps (may be repeated)
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub add_hosts: Vec<String>,
    /// Accepted for scripts: what is built is always in the store
    #[arg(long, hide = true)]
    pub load: bool,
    /// The context folder, or - for a Dockerfile on stdin
    #[arg(value_name = "PATH|-")]
    pub context: String,
}

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// Every line of output.
    Plain,
    /// Steps that collapse when they are done.
    Tty,
    /// Nothing.
    Quiet,
}
