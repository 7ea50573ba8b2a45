//! `push`: layers as they go, then what the name stands for at the registry.

use std::sync::Arc;

use mica_engine::Reference;
use mica_engine::ops::push::{PushOptions, PushProgress, PushRequest};

use crate::args::push::Push;
use crate::context::Context;
use crate::output;
use crate::progress::layers::Layers;
use crate::progress::pushing::Pushing;

/// `push`.
pub(super) async fn run(context: &Context, args: &Push) -> anyhow::Result<()> {
    let bare = Reference::parse_name(&args.name)?;
    if bare.digest().is_some() {
        anyhow::bail!("cannot push a digest reference");
    }
    if args.all_tags && bare.tag().is_some() {
        anyhow::bail!("tag can't be used with --all-tags/-a");
    }
    let options =
        PushOptions { platform: args.platform.clone(), packing: args.compression, force: args.force_compression };
    let layers = if args.quiet { Layers::silent() } else { Layers::on_stdout() };
    let reference = Reference::parse(&args.name)?;
    if !args.all_tags && bare != reference {
        layers.say("Using default tag: latest");
    }
    let progress: Arc<dyn PushProgress> = Arc::new(Pushing::new(layers));
    let engine = context.engine()?;
    let shown = if args.all_tags { bare.repository() } else { reference.to_string() };
    match args.all_tags {
        true => drop(engine.push_all(&bare, &options, progress).await?),
        false => drop(engine.push(PushRequest { reference, options }, progress).await?),
    }
    if args.quiet { output::line(&shown) } else { Ok(()) }
}
