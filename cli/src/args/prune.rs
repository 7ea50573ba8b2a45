//! `container prune`, `image prune`, `builder prune` and `system prune`.

use clap::Args;

/// What every prune takes.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only what matches: until=TIME, label=NAME[=VALUE] (may be repeated)
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
}

/// Remove all stopped containers.
#[derive(Debug, Args)]
pub struct PruneContainers {
    /// What every prune takes.
    #[command(flatten)]
    pub prune: PruneArgs,
}

/// Remove unused images.
#[derive(Debug, Args)]
pub struct PruneImages {
    /// All images without a container, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// What every prune takes.
    #[command(flatten)]
    pub prune: PruneArgs,
}

/// Remove the build cache.
#[derive(Debug, Args)]
pub struct PruneBuilder {
    /// Accepted for scripts: the whole cache goes anyway
    #[arg(short, long)]
    pub all: bool,
    /// What every prune takes.
    #[command(flatten)]
    pub prune: PruneArgs,
}

/// Remove what nobody needs.
#[derive(Debug, Args)]
pub struct PruneSystem {
    /// All images without a container, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Also anonymous volumes that no container uses
    #[arg(long)]
    pub volumes: bool,
    /// What every prune takes.
    #[command(flatten)]
    pub prune: PruneArgs,
}
