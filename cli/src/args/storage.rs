//! `storage …`: the drivers that keep layers, as files and at work.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `storage …`.
#[derive(Debug, Args)]
pub struct Storage {
    /// The command.
    #[command(subcommand)]
    pub command: StorageCommand,
}

/// Commands on storage drivers.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Show one driver in full
    Info(Info),
    /// List the drivers that can be found, and why one is not used
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Move images and stopped containers to another driver
    Migrate(Migrate),
    /// Try which drivers work on a file system
    Probe(Probe),
    /// Judge a driver by the conformance suite
    Test(Test),
}

/// List the drivers that can be found, and why one is not used.
///
/// Drivers are not loaded: what is shown comes from the file's owner, mode and ELF note.
#[derive(Debug, Args)]
pub struct Ls {
    /// Show digests, by which drivers can be pinned in the config
    #[arg(long)]
    pub digests: bool,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Load each driver, open it on a scratch folder, and show what it can do there
    #[arg(long)]
    pub load: bool,
    /// Only names of usable drivers
    #[arg(short, long)]
    pub quiet: bool,
}

/// Move images and stopped containers to another driver, with everything containers have written.
///
/// Nothing is downloaded, and IDs, names and bytes stay what they are. A move that was cut off is run again and goes on where
/// it was. Without names everything moves, and then new images and containers go to the new driver too. Running containers
/// stay where they are, with the layers they stand on, and make the exit code 1.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Only show what would be moved, and about how much that is
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the layers of images on the old driver too
    #[arg(long)]
    pub keep: bool,
    /// Say nothing about what went well
    #[arg(short, long)]
    pub quiet: bool,
    /// The driver to move to: a name, or the path of a library
    #[arg(long, value_name = "DRIVER")]
    pub to: String,
    /// Move everything, as without names
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// What to move; without names, everything
    #[arg(value_name = "IMAGE|CONTAINER")]
    pub names: Vec<String>,
}

/// Show one driver in full: the file, what it says about itself, and what it can do on this store's file system.
#[derive(Debug, Args)]
pub struct Info {
    /// json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// A driver's name or path; without it, the one this store uses
    #[arg(value_name = "NAME|PATH")]
    pub driver: Option<String>,
}

/// Try which drivers work on a file system: each usable one is opened on a scratch folder there, which is removed again.
#[derive(Debug, Args)]
pub struct Probe {
    /// A folder of the file system to try; without it, that of the store
    #[arg(long = "dir", visible_alias = "root", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Judge a driver by the conformance suite, test by test, in a process and a mount namespace of its own.
///
/// Exits with 0 when it passes, with 1 when it fails, and with 125 when the suite could not be run. Needs root.
#[derive(Debug, Args)]
pub struct Test {
    /// A folder for the suite's scratch files; without it, one on the store's file system
    #[arg(long = "dir", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// `json`: one document with every test
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub format: Option<String>,
    /// Option of the driver (may be repeated)
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
    /// Try deeper chains, and many more random sequences and kills: takes minutes
    #[arg(long)]
    pub thorough: bool,
    /// A driver's path or name
    #[arg(value_name = "PATH.so|NAME")]
    pub driver: String,
}
