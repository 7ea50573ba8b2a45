//! `pause` and `unpause`: each prints the names it was given, or those it found.

use mica_engine::ops::ps::PsRequest;

use super::each;
use crate::args::pause::Pause;
use crate::context::Context;
use crate::output;

/// `pause`.
pub(super) async fn pause(context: &Context, args: &Pause) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&names(context, args, "running").await?, async |name| {
        engine.pause(name).await?;
        output::line(name)
    })
    .await
}

/// `unpause`.
pub(super) async fn unpause(context: &Context, args: &Pause) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&names(context, args, "paused").await?, async |name| {
        engine.unpause(name).await?;
        output::line(name)
    })
    .await
}

async fn names(context: &Context, args: &Pause, state: &str) -> anyhow::Result<Vec<String>> {
    if !args.all {
        return Ok(args.containers.clone());
    }
    let request = PsRequest { filters: vec![format!("status={state}")], ..PsRequest::default() };
    let found = context.engine()?.ps(request).await?;
    Ok(found.into_iter().map(|container| container.record.name).collect())
}
