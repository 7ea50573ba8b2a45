//! Docker's second spelling of the commands: `container ls`, `image rm`, `system df` and so on.

use clap::{Args, Subcommand};

use super::{
    attach, build, commit, cp, create, diff, exec, export, history, images, import, info, inspect, kill, load, logs,
    prune, ps, rename, rm, rmi, run, save, start, stop, system, tag, wait,
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
    /// Stop running containers
    Stop(stop::Stop),
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
    /// Show the steps an image was made by
    History(history::History),
    /// Make an image of a root file system archive
    Import(import::Import),
    /// Show everything about images
    Inspect(inspect::InspectImages),
    /// Load images from an archive
    Load(load::Load),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Images),
    /// Remove unused images
    Prune(prune::PruneImages),
    /// Remove images
    #[command(alias = "remove")]
    Rm(rmi::Rmi),
    /// Save images to an archive
    Save(save::Save),
    /// Give an image one more name
    Tag(tag::Tag),
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
    Build(build::Build),
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
    /// Show the store, its driver and this machine
    Info(info::Info),
    /// Remove what nobody needs
    Prune(prune::PruneSystem),
}
