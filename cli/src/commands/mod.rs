//! One file per command: it calls a verb of the engine and shows what came of it.

mod attach;
mod build;
mod check;
mod commit;
mod completion;
mod cp;
mod create;
mod df;
mod diff;
mod events;
mod exec;
mod export;
mod generate;
mod history;
mod image_copy;
mod images;
mod import;
mod info;
mod inspect;
mod load;
mod login;
mod logout;
mod logs;
mod manifest;
mod mount;
mod network;
mod on_containers;
mod pause;
mod prune;
mod ps;
mod pull;
mod push;
mod rmi;
mod run;
mod save;
mod search;
mod start;
mod stats;
mod storage;
mod tags;
mod top;
mod unshare;
mod update;
mod version;
mod volume;

use crate::args::Command;
use crate::args::groups::{BuilderCommand, ContainerCommand, ImageCommand, SystemCommand};
use crate::context::Context;
use crate::failure::Status;
use crate::{output, wire};

/// Runs a command.
pub async fn dispatch(context: &Context, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Attach(args) => attach::run(context, args).await,
        Command::Build(args) => build::run(context, args).await,
        Command::Commit(args) => commit::run(context, args).await,
        Command::Completion(args) => completion::run(args),
        Command::Cp(args) => cp::run(context, args).await,
        Command::Create(args) => create::run(context, args).await,
        Command::Diff(args) => diff::run(context, args).await,
        Command::Docs(args) => completion::docs(args),
        Command::Exec(args) => exec::run(context, args).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Export(args) => export::run(context, args).await,
        Command::Finish(args) => run::finish(context, args).await,
        Command::Generate(group) => generate::run(context, &group.command).await,
        Command::History(args) => history::run(context, args).await,
        Command::Images(args) => images::run(context, args).await,
        Command::Import(args) => import::run(context, args).await,
        Command::Info(args) => info::run(context, args).await,
        Command::Inspect(args) => inspect::any(context, args).await,
        Command::Kill(args) => on_containers::kill(context, args).await,
        Command::Load(args) => load::run(context, args).await,
        Command::Login(args) => login::run(context, args).await,
        Command::Logout(args) => logout::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Manifest(group) => manifest::run(context, &group.command).await,
        Command::Mount(args) => mount::mount(context, args).await,
        Command::Pause(args) => pause::pause(context, args).await,
        Command::Network(group) => network::run(context, &group.command).await,
        Command::Port(args) => network::port(context, args).await,
        Command::Ps(args) => ps::run(context, args).await,
        Command::Pull(args) => pull::run(context, args).await,
        Command::Push(args) => push::run(context, args).await,
        Command::Reap => Ok(mica_engine::ops::reap::reap_store(wire::options(context)?).await?),
        Command::Rename(args) => on_containers::rename(context, args).await,
        Command::Restart(args) => on_containers::restart(context, args).await,
        Command::Rm(args) => on_containers::rm(context, args).await,
        Command::Rmi(args) => rmi::run(context, args).await,
        Command::Run(args) => run::run(context, args).await,
        Command::Save(args) => save::run(context, args).await,
        Command::Search(args) => search::run(context, args).await,
        Command::Start(args) => start::run(context, args).await,
        Command::Stats(args) => stats::run(context, args).await,
        Command::Stop(args) => on_containers::stop(context, args).await,
        Command::Tag(args) => Ok(context.engine()?.tag(&args.source, &args.target).await?),
        Command::Top(args) => top::run(context, args).await,
        Command::Unpause(args) => pause::unpause(context, args).await,
        Command::Update(args) => update::run(context, args).await,
        Command::Unmount(args) => mount::unmount(context, args).await,
        Command::Unshare(args) => unshare::run(context, args),
        Command::Version(args) => version::run(args),
        Command::Wait(args) => on_containers::wait(context, args).await,
        Command::Container(group) => container(context, &group.command).await,
        Command::Image(group) => image(context, &group.command).await,
        Command::Builder(group) | Command::Buildx(group) => match &group.command {
            BuilderCommand::Build(args) => build::run(context, args).await,
            BuilderCommand::Prune(args) => prune::builder(context, args).await,
        },
        Command::Volume(group) => volume::run(context, &group.command).await,
        Command::Storage(group) => storage::run(context, &group.command).await,
        Command::System(group) => match &group.command {
            SystemCommand::Check(args) => check::run(context, args).await,
            SystemCommand::Df(args) => df::run(context, args).await,
            SystemCommand::Events(args) => events::run(context, args).await,
            SystemCommand::Info(args) => info::run(context, args).await,
            SystemCommand::Prune(args) => prune::system(context, args).await,
        },
    }
}

async fn container(context: &Context, command: &ContainerCommand) -> anyhow::Result<()> {
    match command {
        ContainerCommand::Attach(args) => attach::run(context, args).await,
        ContainerCommand::Commit(args) => commit::run(context, args).await,
        ContainerCommand::Cp(args) => cp::run(context, args).await,
        ContainerCommand::Create(args) => create::run(context, args).await,
        ContainerCommand::Diff(args) => diff::run(context, args).await,
        ContainerCommand::Exec(args) => exec::run(context, args).await,
        ContainerCommand::Exists(args) => volume::exists(context.engine()?.container(&args.name).await),
        ContainerCommand::Export(args) => export::run(context, args).await,
        ContainerCommand::Inspect(args) => inspect::containers(context, args).await,
        ContainerCommand::Kill(args) => on_containers::kill(context, args).await,
        ContainerCommand::Logs(args) => logs::run(context, args).await,
        ContainerCommand::Ls(args) => ps::run(context, args).await,
        ContainerCommand::Mount(args) => mount::mount(context, args).await,
        ContainerCommand::Pause(args) => pause::pause(context, args).await,
        ContainerCommand::Port(args) => network::port(context, args).await,
        ContainerCommand::Prune(args) => prune::containers(context, args).await,
        ContainerCommand::Rename(args) => on_containers::rename(context, args).await,
        ContainerCommand::Restart(args) => on_containers::restart(context, args).await,
        ContainerCommand::Rm(args) => on_containers::rm(context, args).await,
        ContainerCommand::Run(args) => run::run(context, args).await,
        ContainerCommand::Start(args) => start::run(context, args).await,
        ContainerCommand::Stats(args) => stats::run(context, args).await,
        ContainerCommand::Stop(args) => on_containers::stop(context, args).await,
        ContainerCommand::Top(args) => top::run(context, args).await,
        ContainerCommand::Unpause(args) => pause::unpause(context, args).await,
        ContainerCommand::Update(args) => update::run(context, args).await,
        ContainerCommand::Unmount(args) => mount::unmount(context, args).await,
        ContainerCommand::Wait(args) => on_containers::wait(context, args).await,
    }
}

async fn image(context: &Context, command: &ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Build(args) => build::run(context, args).await,
        ImageCommand::Exists(args) => volume::exists(context.engine()?.inspect_image(&args.name).await),
        ImageCommand::History(args) => history::run(context, args).await,
        ImageCommand::Import(args) => import::run(context, args).await,
        ImageCommand::Copy(args) => image_copy::run(context, args).await,
        ImageCommand::Inspect(args) => inspect::images(context, args).await,
        ImageCommand::Load(args) => load::run(context, args).await,
        ImageCommand::Ls(args) => images::run(context, args).await,
        ImageCommand::Prune(args) => prune::images(context, args).await,
        ImageCommand::Pull(args) => pull::run(context, args).await,
        ImageCommand::Push(args) => push::run(context, args).await,
        ImageCommand::Rm(args) => rmi::run(context, args).await,
        ImageCommand::Save(args) => save::run(context, args).await,
        ImageCommand::Tag(args) => Ok(context.engine()?.tag(&args.source, &args.target).await?),
        ImageCommand::Tags(args) => tags::run(context, args).await,
    }
}

/// Does something to each of several objects; one that fails does not keep the others from it.
async fn each(names: &[String], mut act: impl AsyncFnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut failed = false;
    for name in names {
        if let Err(failure) = act(name).await {
            if failure.is::<output::Closed>() {
                return Err(failure);
            }
            output::error(&failure);
            failed = true;
        }
    }
    if failed { Err(Status(1).into()) } else { Ok(()) }
}

/// An exit code for the shell. Codes are 0 to 255; anything else is a failure too.
fn status(code: i32) -> anyhow::Result<()> {
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Status(code).into()),
        Err(_) => Err(Status(255).into()),
    }
}

/// `--filter` arguments as pairs, for the verbs that take pairs.
fn pairs(filters: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |filter: &String| match filter.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned())),
        None => Err(anyhow::anyhow!("bad format of filter `{filter}`: expected NAME=VALUE")),
    };
    filters.iter().map(pair).collect()
}
