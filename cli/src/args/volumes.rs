//! The flags of `run` and `create` about volumes that other containers or drivers have.

use clap::Args;

/// Volumes of other containers and of other drivers.
#[derive(Debug, Args)]
pub struct VolumeArgs {
    /// Mount what another container mounts (may be repeated)
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub volumes_from: Vec<String>,
    /// Driver of volumes that have to be made; there is local
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
}
