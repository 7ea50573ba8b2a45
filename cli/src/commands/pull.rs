//! `pull`: layers as they come, then what the name stands for.

use std::sync::Arc;

use mica_engine::Reference;
use mica_engine::ops::pull::{Platforms, PullProgress, PullRequest};

use crate::args::pull::Pull;
use crate::context::Context;
use crate::output;
use crate::progress::layers::Layers;
use crate::progress::pulling::{Begin, Pulling};

/// `pull`.
pub(super) async fn run(context: &Context, args: &Pull) -> anyhow::Result<()> {
    let bare = Reference::parse_name(&args.name)?;
    if args.all_tags && (bare.tag().is_some() || bare.digest().is_some()) {
        anyhow::bail!("tag can't be used with --all-tags/-a");
    }
    let platforms = match &args.platform {
        _ if args.all_platforms => Platforms::All,
        Some(platform) => Platforms::One(platform.clone()),
        None => Platforms::Native,
    };
    let layers = if args.quiet { Layers::silent() } else { Layers::on_stdout() };
    let reference = Reference::parse(&args.name)?;
    if !args.all_tags && bare != reference {
        layers.say("Using default tag: latest");
    }
    let progress: Arc<dyn PullProgress> = Arc::new(Pulling::new(layers, Begin::Asked));
    let engine = context.engine()?;
    let pulled = match args.all_tags {
        true => engine.pull_all(&bare, &platforms, progress).await?,
        false => vec![engine.pull(PullRequest { reference, platforms }, progress).await?],
    };
    pulled.iter().try_for_each(|pulled| output::line(&pulled.reference))
}
