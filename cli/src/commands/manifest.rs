//! `manifest`: lists of images for several platforms, with what Docker prints.

use std::collections::BTreeMap;

use base64::Engine as _;
use mica_engine::Kind;
use mica_engine::list::Remarks;
use mica_engine::manifest::{INDEXES, MANIFESTS, OCI_MANIFEST};
use mica_engine::ops::manifest::{AddToList, CreateList, Existing, ManifestDetails, PushList};
use mica_engine::ops::push::PushOptions;

use super::each;
use crate::args::manifest::{Add, Annotate, Create, Exists, Inspect, ManifestCommand, Push, RemarkArgs, Remove, Rm};
use crate::context::Context;
use crate::failure::Status;
use crate::output::{self, json};

/// `manifest …`.
pub(super) async fn run(context: &Context, command: &ManifestCommand) -> anyhow::Result<()> {
    match command {
        ManifestCommand::Add(args) => add(context, args).await,
        ManifestCommand::Annotate(args) => annotate(context, args).await,
        ManifestCommand::Create(args) => create(context, args).await,
        ManifestCommand::Exists(args) => exists(context, args).await,
        ManifestCommand::Inspect(args) => inspect(context, args).await,
        ManifestCommand::Push(args) => push(context, args).await,
        ManifestCommand::Remove(args) => remove(context, args).await,
        ManifestCommand::Rm(args) => rm(context, args).await,
    }
}

async fn create(context: &Context, args: &Create) -> anyhow::Result<()> {
    let request = CreateList {
        name: args.list.clone(),
        images: args.images.clone(),
        all: args.all,
        existing: if args.amend { Existing::Amend } else { Existing::Keep },
        annotations: annotations(&args.annotations)?,
    };
    let name = context.engine()?.create_list(request).await?;
    output::line(format!("Created manifest list {name}"))
}

async fn add(context: &Context, args: &Add) -> anyhow::Result<()> {
    let request = AddToList {
        list: args.list.clone(),
        image: args.image.clone(),
        all: args.all,
        remarks: remarks(&args.remarks)?,
    };
    let name = context.engine()?.add_to_list(request).await?;
    output::line(name)
}

/// Docker says nothing.
async fn annotate(context: &Context, args: &Annotate) -> anyhow::Result<()> {
    let image = if args.index { None } else { args.image.as_deref() };
    context.engine()?.annotate_list(&args.list, image, remarks(&args.remarks)?).await?;
    Ok(())
}

async fn remove(context: &Context, args: &Remove) -> anyhow::Result<()> {
    let name = context.engine()?.take_from_list(&args.list, &args.image).await?;
    output::line(name)
}

/// The exit code is the answer.
async fn exists(context: &Context, args: &Exists) -> anyhow::Result<()> {
    match context.engine()?.has_list(&args.list).await? {
        true => Ok(()),
        false => Err(Status(1).into()),
    }
}

/// Docker says nothing.
async fn rm(context: &Context, args: &Rm) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.lists, async |name| Ok(engine.remove_list(name).await.map(drop)?)).await
}

async fn push(context: &Context, args: &Push) -> anyhow::Result<()> {
    let request = PushList {
        name: args.list.clone(),
        destination: args.destination.clone(),
        purge: args.purge,
        options: PushOptions { packing: args.compression, force: args.force_compression, ..PushOptions::default() },
    };
    let pushed = context.engine()?.push_list(request).await?;
    for image in pushed.images.iter().filter(|_| !args.quiet) {
        let digest = image.digest().map(ToString::to_string).unwrap_or_default();
        output::line(format!("Pushed ref {image} with digest: {digest}"))?;
    }
    output::line(pushed.digest)
}

/// A list is indented by three spaces and a manifest by tabs, as Docker has it.
async fn inspect(context: &Context, args: &Inspect) -> anyhow::Result<()> {
    let engine = context.engine()?;
    if args.verbose {
        let (details, listed) = engine.manifest_details(&args.name).await?;
        let details: Vec<String> = details.iter().map(verbose).collect::<anyhow::Result<_>>()?;
        let text = if listed { format!("[{}]", details.join(",")) } else { details.concat() };
        return output::line(json::indent(&text, "\t"));
    }
    let document = engine.manifest_document(&args.name).await?;
    let indent = if INDEXES.contains(&document.media_type.as_str()) { "   " } else { "\t" };
    output::line(json::indent(text(&document.bytes)?, indent))
}

/// Docker's record of a manifest, with the manifest as it was written.
fn verbose(details: &ManifestDetails) -> anyhow::Result<String> {
    let raw = base64::engine::general_purpose::STANDARD.encode(&details.document.bytes);
    let key = match details.document.media_type.as_str() {
        OCI_MANIFEST => "OCIManifest",
        known if MANIFESTS.contains(&known) => "SchemaV2Manifest",
        _ => "OCIIndex",
    };
    Ok(format!(
        "{{\"Ref\":{},\"Descriptor\":{},\"Raw\":\"{raw}\",\"{key}\":{}}}",
        serde_json::to_string(&details.name)?,
        serde_json::to_string(&details.descriptor)?,
        text(&details.document.bytes)?,
    ))
}

fn text(bytes: &[u8]) -> anyhow::Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|_| mica_engine::Error::refused(Kind::Corrupt, "the manifest is not text").into())
}

fn remarks(args: &RemarkArgs) -> anyhow::Result<Remarks> {
    Ok(Remarks {
        os: args.os.clone(),
        architecture: args.arch.clone(),
        variant: args.variant.clone(),
        os_version: args.os_version.clone(),
        os_features: args.os_features.clone(),
        annotations: annotations(&args.annotations)?,
    })
}

fn annotations(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(anyhow::anyhow!("invalid annotation `{}`: expected KEY=VALUE", text.escape_debug())),
    };
    texts.iter().map(pair).collect()
}
