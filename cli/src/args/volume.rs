//! `volume …`.

use clap::{Args, Subcommand};

use super::prune::PruneArgs;

/// `volume …`.
#[derive(Debug, Args)]
pub struct Volume {
    /// The command.
    #[command(subcommand)]
    pub command: VolumeCommand,
}

/// Commands on volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make a volume
    Create(CreateVolume),
    /// Exit with 0 if a volume is there, else with 1
    Exists(ExistsVolume),
    /// Show everything about volumes
    Inspect(InspectVolumes),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(ListVolumes),
    /// Remove volumes that no container uses
    Prune(PruneVolumes),
    /// Remove volumes
    #[command(alias = "remove")]
    Rm(RemoveVolumes),
}

/// Make a volume.
#[derive(Debug, Args)]
pub struct CreateVolume {
    /// Driver; there is local
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    pub driver: String,
    /// Set a label (may be repeated)
    #[arg(long = "label", value_name = "NAME[=VALUE]")]
    pub labels: Vec<String>,
    /// Option of the driver: type, device or o as mount(8) has them (may be repeated)
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
    /// The volume's name, by Docker's old flag
    #[arg(long = "name", hide = true, value_name = "NAME")]
    pub old_name: Option<String>,
    /// The volume's name; random when there is none
    pub name: Option<String>,
}

/// Exit with 0 if a volume is there, else with 1.
#[derive(Debug, Args)]
pub struct ExistsVolume {
    /// The volume
    #[arg(value_name = "VOLUME")]
    pub name: String,
}

/// Show everything about volumes.
#[derive(Debug, Args)]
pub struct InspectVolumes {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub names: Vec<String>,
}

/// List volumes.
#[derive(Debug, Args)]
pub struct ListVolumes {
    /// Only those that match: dangling=BOOL, driver=NAME, label=NAME[=VALUE], name=PART (may be repeated)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only names
    #[arg(short, long)]
    pub quiet: bool,
}

/// Remove volumes that no container uses.
#[derive(Debug, Args)]
pub struct PruneVolumes {
    /// Also those with a name
    #[arg(short, long)]
    pub all: bool,
    /// What every prune takes.
    #[command(flatten)]
    pub prune: PruneArgs,
}

/// Remove volumes.
#[derive(Debug, Args)]
pub struct RemoveVolumes {
    /// A volume that is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub names: Vec<String>,
}
