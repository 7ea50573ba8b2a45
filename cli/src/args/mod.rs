//! The command line: one file per command, data only. What the values mean is decided in [`crate::spec`] and the commands.
//!
//! Docker stops reading flags at the image or container, so the words after it are one trailing list.

pub mod attach;
pub mod build;
pub mod commit;
pub mod completion;
pub mod container;
pub mod cp;
pub mod create;
pub mod diff;
pub mod docs;
pub mod events;
pub mod exec;
pub mod exists;
pub mod export;
pub mod generate;
pub mod global;
pub mod groups;
pub mod health;
pub mod history;
pub mod image_copy;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod late;
pub mod load;
pub mod logging;
pub mod login;
pub mod logout;
pub mod logs;
pub mod manifest;
pub mod mount;
pub mod namespaces;
pub mod network;
pub mod networking;
pub mod pause;
pub mod prune;
pub mod ps;
pub mod pull;
pub mod push;
pub mod rename;
pub mod resources;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod search;
pub mod start;
pub mod stats;
pub mod stop;
pub mod storage;
pub mod system;
pub mod tag;
pub mod tags;
#[cfg(test)]
mod tests;
pub mod top;
pub mod unshare;
pub mod unsupported;
pub mod update;
pub mod values;
pub mod version;
pub mod volume;
pub mod volumes;
pub mod wait;

use clap::{Parser, Subcommand};

use late::Late;

const ENVIRONMENT: &str = "\
Environment:
  DOCKER_CONFIG      folder of Docker's config.json, where logins are
  MICA_NETWORK       network of containers and builds that name none
  MICA_STORAGE_OPTS  options of the storage driver, between commas
  MICA_STORAGE_PATH  folders with storage drivers, between colons
  NO_COLOR           no colours, whatever its value

Config files: /etc/mica/config.toml, then $XDG_CONFIG_HOME/mica/config.toml";

/// Mica builds images and runs containers, without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "mica",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = ENVIRONMENT
)]
pub struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub global: global::Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
#[command(subcommand_value_name = "COMMAND", subcommand_help_heading = "Commands")]
pub enum Command {
    /// Create and run a new container from an image
    Run(Late<run::Run>),
    /// Execute a command in a running container
    Exec(Late<exec::Exec>),
    /// List containers
    Ps(Late<ps::Ps>),
    /// Build an image from a Dockerfile
    Build(Late<build::Build>),
    /// List images
    Images(Late<images::Images>),
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
    /// Show what happens to containers and images
    Events(Late<events::Events>),
    /// Export a container's file system as a tar archive
    Export(Late<export::Export>),
    /// Show the steps an image was made by
    History(Late<history::History>),
    /// Make an image of a root file system archive
    Import(Late<import::Import>),
    /// Show the store, its driver and this machine
    Info(Late<info::Info>),
    /// Show everything about images and containers
    Inspect(Late<inspect::Inspect>),
    /// Send a signal to running containers
    Kill(Late<kill::Kill>),
    /// Load images from an archive or a folder
    Load(Late<load::Load>),
    /// Log in to a registry
    Login(Late<login::Login>),
    /// Log out of a registry
    Logout(Late<logout::Logout>),
    /// Show the output of a container
    Logs(Late<logs::Logs>),
    /// Mount the roots of containers on the host
    Mount(Late<mount::Mount>),
    /// Make containers stand still
    Pause(Late<pause::Pause>),
    /// Show the published ports of a container
    Port(Late<network::Port>),
    /// Pull an image from a registry
    Pull(Late<pull::Pull>),
    /// Push an image to a registry
    Push(Late<push::Push>),
    /// Rename a container
    Rename(Late<rename::Rename>),
    /// Stop and start containers
    Restart(Late<stop::Restart>),
    /// Remove containers
    Rm(Late<rm::Rm>),
    /// Remove images
    Rmi(Late<rmi::Rmi>),
    /// Save images to an archive or a folder
    Save(Late<save::Save>),
    /// Search a registry for images
    Search(Late<search::Search>),
    /// Start stopped containers
    Start(Late<start::Start>),
    /// Show what containers use
    Stats(Late<stats::Stats>),
    /// Stop running containers
    Stop(Late<stop::Stop>),
    /// Give an image one more name
    Tag(Late<tag::Tag>),
    /// List the processes of a container
    Top(Late<top::Top>),
    /// Let paused containers go on
    Unpause(Late<pause::Pause>),
    /// Change limits or the restart policy of containers
    Update(Late<update::Update>),
    /// Take the roots of containers away from the host
    #[command(visible_alias = "umount")]
    Unmount(Late<mount::Unmount>),
    /// Run a command in the user namespace of a user without privileges
    Unshare(Late<unshare::Unshare>),
    /// Show the version
    Version(Late<version::Version>),
    /// Wait for containers to stop and print their exit codes
    Wait(Late<wait::Wait>),
    /// Commands on containers
    Container(Late<groups::Container>),
    /// Commands on images
    Image(Late<groups::Image>),
    /// Commands on networks
    Network(Late<network::Network>),
    /// Commands on manifest lists
    Manifest(Late<manifest::Manifest>),
    /// Commands on volumes
    Volume(Late<volume::Volume>),
    /// Commands on the build cache
    Builder(Late<groups::Builder>),
    /// The builder by its other name
    #[command(hide = true)]
    Buildx(Late<groups::Builder>),
    /// Write configuration for other programs
    Generate(Late<generate::Generate>),
    /// Commands on the store
    System(Late<groups::System>),
    /// Commands on storage drivers
    Storage(Late<storage::Storage>),
    /// Print a completion script for a shell
    Completion(Late<completion::Completion>),
    /// Wait for a container and remove it if it was made with `--rm`
    #[command(name = "__finish", hide = true)]
    Finish(Late<run::Finish>),
    /// Free the bytes of what was removed
    #[command(name = "__reap", hide = true)]
    Reap,
    /// Write man pages and completions into a folder
    #[command(name = "__docs", hide = true)]
    Docs(Late<docs::Docs>),
}
