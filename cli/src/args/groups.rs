//! Docker's second spelling of the commands: `container ls`, `image rm`, `system df` and so on.

use clap::{Args, Subcommand};

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
    Attach(attach::Attach),
    /// Make an image of a container's changes
    Commit(commit::Commit),
    /// Copy files between a container and the host
    Cp(cp::Cp),
    /// Create a new container
    Create(create::Create),
    /// Show what a container changed in its file system
    Diff(diff::Diff),
    /// Execute a command in a running container
    Exec(exec::Exec),
    /// Exit with 0 if a container is there, else with 1
    Exists(exists::Exists),
    /// Export a container's file system as a tar archive
    Export(export::Export),
    /// Show everything about containers
    Inspect(inspect::InspectContainers),
    /// Send a signal to running containers
    Kill(kill::Kill),
    /// Show the output of a container
    Logs(logs::Logs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Ps),
    /// Mount the roots of containers on the host
    Mount(mount::Mount),
    /// Make containers stand still
    Pause(pause::Pause),
    /// Show the published ports of a container
    Port(network::Port),
    /// Remove all stopped containers
    Prune(prune::PruneContainers),
    /// Rename a container
    Rename(rename::Rename),
    /// Stop and start containers
    Restart(stop::Restart),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(rm::Rm),
    /// Create and run a new container from an image
    Run(run::Run),
    /// Start stopped containers
    Start(start::Start),
    /// Show what containers use
    Stats(stats::Stats),
    /// Stop running containers
    Stop(stop::Stop),
    /// List the processes of a container
    Top(top::Top),
    /// Let paused containers go on
    Unpause(pause::Pause),
    /// Change limits or the restart policy of containers
    Update(update::Update),
    /// Take the roots of containers away from the host
    #[command(alias = "umount")]
    Unmount(mount::Unmount),
    /// Wait for containers to stop and print their exit codes
    Wait(wait::Wait),
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
    Build(build::Build),
    /// Copy an image between registries, layouts and archives
    Copy(image_copy::ImageCopy),
    /// Exit with 0 if an image is there, else with 1
    Exists(exists::Exists),
    /// Show the steps an image was made by
    History(history::History),
    /// Make an image of a root file system archive
    Import(import::Import),
    /// Show everything about images
    Inspect(inspect::InspectImages),
    /// Load images from an archive or a folder
    Load(load::Load),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Images),
    /// Remove unused images
    Prune(prune::PruneImages),
    /// Pull an image from a registry
    Pull(pull::Pull),
    /// Push an image to a registry
    Push(push::Push),
    /// Remove images
    #[command(alias = "remove")]
    Rm(rmi::Rmi),
    /// Save images to an archive or a folder
    Save(save::Save),
    /// Give an image one more name
    Tag(tag::Tag),
    /// List the tags that a repository has in its registry
    Tags(tags::Tags),
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
    Prune(prune::PruneBuilder),
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
    Check(system::Check),
    /// Show what takes how much of the disk
    Df(system::Df),
    /// Show what happens to containers and images
    Events(events::Events),
    /// Show the store, its driver and this machine
    Info(info::Info),
    /// Remove what nobody needs
    Prune(prune::PruneSystem),
}
