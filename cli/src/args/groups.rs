//! Docker's second spelling of the commands: `container ls`, `image rm`, `system df` and so on.

use clap::{Args, Subcommand};

use super::late::Late;
use super::{
    attach, build, commit, cp, create, diff, events, exec, exists, export, history, image_copy, images, import, info,
    inspect, kill, load, logs, mount, network, pause, prune, ps, pull, push, rename, rm, rmi, run, save, start, stats,
    stop, system, tag, tags, top, update, wait,
};

/// `container …`.
#[derive(Debug, Args)]
pub struct Container {
    /// The command.
    #[command(subcommand)]
    pub command: ContainerCommand,
}

/// Commands on containers.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Attach to a running container's streams
    Attach(Late<attach::Attach>),
    /// Make an image of a container's changes
    Commit(Late<commit::Commit>),
    /// Copy files between a container and the host
    Cp(Late<cp::Cp>),
    /// Create a new container
    Create(Late<create::Create>),
    /// Show what a container changed in its file system
    Diff(Late<diff::Diff>),
    /// Execute a command in a running container
    Exec(Late<exec::Exec>),
    /// Exit with 0 if a container is there, else with 1
    Exists(Late<exists::Exists>),
    /// Export a container's file system as a tar archive
    Export(Late<export::Export>),
    /// Show everything about containers
    Inspect(Late<inspect::InspectContainers>),
    /// Send a signal to running containers
    Kill(Late<kill::Kill>),
    /// Show the output of a container
    Logs(Late<logs::Logs>),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(Late<ps::Ps>),
    /// Mount the roots of containers on the host
    Mount(Late<mount::Mount>),
    /// Make containers stand still
    Pause(Late<pause::Pause>),
    /// Show the published ports of a container
    Port(Late<network::Port>),
    /// Remove all stopped containers
    Prune(Late<prune::PruneContainers>),
    /// Rename a container
    Rename(Late<rename::Rename>),
    /// Stop and start containers
    Restart(Late<stop::Restart>),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(Late<rm::Rm>),
    /// Create and run a new container from an image
    Run(Late<run::Run>),
    /// Start stopped containers
    Start(Late<start::Start>),
    /// Show what containers use
    Stats(Late<stats::Stats>),
    /// Stop running containers
    Stop(Late<stop::Stop>),
    /// List the processes of a container
    Top(Late<top::Top>),
    /// Let paused containers go on
    Unpause(Late<pause::Pause>),
    /// Change limits or the restart policy of containers
    Update(Late<update::Update>),
    /// Take the roots of containers away from the host
    #[command(alias = "umount")]
    Unmount(Late<mount::Unmount>),
    /// Wait for containers to stop and print their exit codes
    Wait(Late<wait::Wait>),
}

/// `image …`.
#[derive(Debug, Args)]
pub struct Image {
    /// The command.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// Commands on images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Late<build::Build>),
    /// Copy an image between registries, layouts and archives
    Copy(Late<image_copy::ImageCopy>),
    /// Exit with 0 if an image is there, else with 1
    Exists(Late<exists::Exists>),
    /// Show the steps an image was made by
    History(Late<history::History>),
    /// Make an image of a root file system archive
    Import(Late<import::Import>),
    /// Show everything about images
    Inspect(Late<inspect::InspectImages>),
    /// Load images from an archive or a folder
    Load(Late<load::Load>),
    /// List images
    #[command(visible_alias = "list")]
    Ls(Late<images::Images>),
    /// Remove unused images
    Prune(Late<prune::PruneImages>),
    /// Pull an image from a registry
    Pull(Late<pull::Pull>),
    /// Push an image to a registry
    Push(Late<push::Push>),
    /// Remove images
    #[command(alias = "remove")]
    Rm(Late<rmi::Rmi>),
    /// Save images to an archive or a folder
    Save(Late<save::Save>),
    /// Give an image one more name
    Tag(Late<tag::Tag>),
    /// List the tags that a repository has in its registry
    Tags(Late<tags::Tags>),
}

/// `builder …` and `buildx …`.
#[derive(Debug, Args)]
pub struct Builder {
    /// The command.
    #[command(subcommand)]
    pub command: BuilderCommand,
}

/// Commands on the build cache.
#[derive(Debug, Subcommand)]
pub enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(Box<build::Build>),
    /// Remove the build cache
    Prune(Late<prune::PruneBuilder>),
}

/// `system …`.
#[derive(Debug, Args)]
pub struct System {
    /// The command.
    #[command(subcommand)]
    pub command: SystemCommand,
}

/// Commands on the store.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Compare the store's records with its disk, and every byte with its digest
    Check(Late<system::Check>),
    /// Show what takes how much of the disk
    Df(Late<system::Df>),
    /// Show what happens to containers and images
    Events(Late<events::Events>),
    /// Show the store, its driver and this machine
    Info(Late<info::Info>),
    /// Remove what nobody needs
    Prune(Late<prune::PruneSystem>),
}
