//! `volume create`, `ls`, `inspect`, `rm`, `prune` and `exists`.

use std::collections::BTreeMap;

use mica_engine::Kind;
use mica_engine::container::VolumeSpec;
use mica_engine::ops::prune::{PruneRequest, PruneVolumes};
use mica_engine::ops::volume::{NewVolume, VolumeFilters};

use super::inspect::show;
use super::{each, pairs, prune};
use crate::args::volume::{CreateVolume, InspectVolumes, ListVolumes, RemoveVolumes, VolumeCommand};
use crate::context::Context;
use crate::failure::Status;
use crate::output::listing::{self, Style};
use crate::{output, spec, views};

/// `volume …`.
pub(super) async fn run(context: &Context, command: &VolumeCommand) -> anyhow::Result<()> {
    match command {
        VolumeCommand::Create(args) => create(context, args).await,
        VolumeCommand::Exists(args) => exists(context.engine()?.volume(&args.name).await),
        VolumeCommand::Inspect(args) => inspect(context, args).await,
        VolumeCommand::Ls(args) => list(context, args).await,
        VolumeCommand::Prune(args) => {
            let (volumes, warning) = if args.all {
                (PruneVolumes::Unused, "This will remove all local volumes not used by at least one container.")
            } else {
                (
                    PruneVolumes::Anonymous,
                    "This will remove anonymous local volumes not used by at least one container.",
                )
            };
            prune::prune(context, &args.prune, warning, PruneRequest { volumes, ..PruneRequest::default() })
                .await
                .map(drop)
        }
        VolumeCommand::Rm(args) => remove(context, args).await,
    }
}

async fn create(context: &Context, args: &CreateVolume) -> anyhow::Result<()> {
    if args.old_name.is_some() && args.name.is_some() {
        anyhow::bail!("conflicting options: either specify --name or provide positional arg, not both");
    }
    let option = |text: &String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    let spec = VolumeSpec {
        driver: Some(args.driver.clone()),
        options: args.options.iter().map(option).collect::<BTreeMap<_, _>>(),
        labels: spec::labels(&[], &args.labels)?,
    };
    let name = args.name.clone().or_else(|| args.old_name.clone());
    output::line(context.engine()?.create_volume(NewVolume { name, spec }).await?.name)
}

async fn inspect(context: &Context, args: &InspectVolumes) -> anyhow::Result<()> {
    let engine = context.engine()?;
    show(args.format.as_deref(), &args.names, async |name| {
        let volume = engine.volume(name).await?;
        Ok(views::volume::details(&volume, &engine.volume_path(name)))
    })
    .await
}

async fn list(context: &Context, args: &ListVolumes) -> anyhow::Result<()> {
    let engine = context.engine()?;
    let found = engine.volumes(VolumeFilters::parse(&pairs(&args.filters)?)?).await?;
    let rows: Vec<_> =
        found.iter().map(|volume| views::volume::row(volume, &engine.volume_path(&volume.name))).collect();
    let style = Style { format: args.format.as_deref(), quiet: args.quiet };
    output::raw(listing::render(&views::volume::VOLUMES, style, &rows)?.as_bytes())
}

async fn remove(context: &Context, args: &RemoveVolumes) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.names, async |name| match engine.remove_volume(name).await {
        Err(error) if !(args.force && error.kind() == Kind::NotFound) => Err(error.into()),
        _ => output::line(name),
    })
    .await
}

/// An answer that is nothing but an exit code.
pub(super) fn exists<T>(found: mica_engine::Result<T>) -> anyhow::Result<()> {
    match found {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::InvalidInput) => Err(Status(1).into()),
        Err(error) => {
            output::error(&error.into());
            Err(Status(125).into())
        }
    }
}
