//! `inspect`: prints what it found, then says what it did not find.

use mica_engine::ops::inspect_remote::inspect_remote;
use mica_engine::ops::pull::Platforms;
use mica_engine::{Engine, Kind, Reference};
use serde_json::Value as Json;

use crate::args::inspect::{Inspect, InspectContainers, InspectImages, ObjectType};
use crate::context::Context;
use crate::failure::{Status, by_given_name};
use crate::output;
use crate::template::{Template, Value};
use crate::{views, wire};

/// `inspect`: containers come before images of the same name, and those before volumes.
pub(super) async fn any(context: &Context, args: &Inspect) -> anyhow::Result<()> {
    inspect(&context.engine()?, args.kind, args.size, args.format.as_deref(), &args.names).await
}

/// `container inspect`.
pub(super) async fn containers(context: &Context, args: &InspectContainers) -> anyhow::Result<()> {
    inspect(&context.engine()?, Some(ObjectType::Container), args.size, args.format.as_deref(), &args.names).await
}

/// `image inspect`.
pub(super) async fn images(context: &Context, args: &InspectImages) -> anyhow::Result<()> {
    if args.remote {
        return remote(context, args).await;
    }
    inspect(&context.engine()?, Some(ObjectType::Image), false, args.format.as_deref(), &args.names).await
}

/// `image inspect --remote`, for which no store is made.
async fn remote(context: &Context, args: &InspectImages) -> anyhow::Result<()> {
    let registry = wire::options(context)?.registry;
    let platforms = args.platform.clone().map_or(Platforms::Native, Platforms::One);
    if args.raw {
        for name in &args.names {
            output::raw(&registry.manifest(&Reference::parse(name)?).await?.bytes)?;
        }
        return Ok(());
    }
    show(args.format.as_deref(), &args.names, async |name| {
        let image = inspect_remote(&*registry, &Reference::parse(name)?, &platforms).await?;
        Ok(views::remote_image::details(&image)?)
    })
    .await
}

async fn inspect(
    engine: &Engine,
    kind: Option<ObjectType>,
    size: bool,
    format: Option<&str>,
    names: &[String],
) -> anyhow::Result<()> {
    show(format, names, async |name| find(engine, kind, size, name).await).await
}

/// Finds what is there and shows it, then says what is not there.
pub(super) async fn show(
    format: Option<&str>,
    names: &[String],
    find: impl AsyncFn(&str) -> anyhow::Result<Json>,
) -> anyhow::Result<()> {
    let template = match format {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match find(name).await {
            Ok(object) => found.push(object),
            Err(failure) => failures.push(failure),
        }
    }
    match (&template, format) {
        (Some(template), _) => {
            for object in &found {
                output::line(template.render(&Value::from_json(object))?)?;
            }
        }
        (None, Some("json")) => output::line(serde_json::to_string(&found)?)?,
        (None, _) => output::line(pretty(&found)?)?,
    }
    for failure in &failures {
        output::error(failure);
    }
    if failures.is_empty() { Ok(()) } else { Err(Status(1).into()) }
}

async fn find(engine: &Engine, kind: Option<ObjectType>, size: bool, name: &str) -> anyhow::Result<Json> {
    if kind == Some(ObjectType::Network) {
        return Ok(views::network::details(&engine.inspect_network(name).await?));
    }
    let volume = async || -> mica_engine::Result<Json> {
        Ok(views::volume::details(&engine.volume(name).await?, &engine.volume_path(name)))
    };
    if kind == Some(ObjectType::Volume) {
        return Ok(volume().await?);
    }
    if kind != Some(ObjectType::Image) {
        match engine.container(name).await {
            Ok(mut summary) => {
                if size {
                    summary.size = Some(engine.container_size(&summary.record.id).await?);
                }
                return Ok(views::container::details(&summary));
            }
            Err(error) if error.kind() == Kind::NotFound && kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    match engine.inspect_image(name).await {
        Ok(image) => Ok(views::image::details(&image)),
        // A name that no image can have may still be one that somebody looks for.
        Err(error) if kind.is_none() && matches!(error.kind(), Kind::NotFound | Kind::InvalidInput) => {
            match volume().await {
                Err(error) if error.kind() == Kind::NotFound => match engine.inspect_network(name).await {
                    Ok(network) => Ok(views::network::details(&network)),
                    Err(_) => Err(anyhow::anyhow!("No such object: {name}")),
                },
                found => Ok(found?),
            }
        }
        Err(error) => Err(by_given_name(error, &[name.to_owned()])),
    }
}

/// Docker indents by four spaces.
fn pretty(objects: &[Json]) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    serde::Serialize::serialize(objects, &mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8(text)?)
}
