//! `inspect`: prints what it found, then says what it did not find.

use mica_engine::{Engine, Kind};
use serde_json::Value as Json;

use crate::args::inspect::{Inspect, InspectContainers, InspectImages, ObjectType};
use crate::context::Context;
use crate::failure::Status;
use crate::output;
use crate::template::{Template, Value};
use crate::views;

/// `inspect`: containers come before images of the same name.
pub(super) async fn any(context: &Context, args: &Inspect) -> anyhow::Result<()> {
    inspect(&context.engine()?, args.kind, args.size, args.format.as_deref(), &args.names).await
}

/// `container inspect`.
pub(super) async fn containers(context: &Context, args: &InspectContainers) -> anyhow::Result<()> {
    inspect(&context.engine()?, Some(ObjectType::Container), args.size, args.format.as_deref(), &args.names).await
}

/// `image inspect`.
pub(super) async fn images(context: &Context, args: &InspectImages) -> anyhow::Result<()> {
    inspect(&context.engine()?, Some(ObjectType::Image), false, args.format.as_deref(), &args.names).await
}

async fn inspect(
    engine: &Engine,
    kind: Option<ObjectType>,
    size: bool,
    format: Option<&str>,
    names: &[String],
) -> anyhow::Result<()> {
    let template = match format {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match find(engine, kind, size, name).await {
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
            Err(anyhow::anyhow!("No such object: {name}"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Docker indents by four spaces.
fn pretty(objects: &[Json]) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    serde::Serialize::serialize(objects, &mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8(text)?)
}
