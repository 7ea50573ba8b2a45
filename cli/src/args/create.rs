//! `create`.

use clap::Args;

use super::container::ContainerArgs;

/// Create a new container.
#[derive(Debug, Args)]
pub struct Create {
    /// The container.
    #[command(flatten)]
    pub container: ContainerArgs,
}
