//! The short verbs on containers: `stop`, `restart`, `kill`, `wait`, `rm`, `rename`. Each prints the name it was given.

use mica_engine::ops::remove::RemoveOptions;
use mica_engine::ops::stop::StopOptions;

use super::each;
use crate::args;
use crate::context::Context;
use crate::output;

/// `stop`.
pub(super) async fn stop(context: &Context, args: &args::stop::Stop) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.containers, async |name| {
        engine.stop(name, options(args)).await?;
        output::line(name)
    })
    .await
}

/// `restart`.
pub(super) async fn restart(context: &Context, args: &args::stop::Restart) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.stop.containers, async |name| {
        engine.restart(name, options(&args.stop)).await?;
        output::line(name)
    })
    .await
}

/// `kill`.
pub(super) async fn kill(context: &Context, args: &args::kill::Kill) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.containers, async |name| {
        engine.kill(name, &args.signal).await?;
        output::line(name)
    })
    .await
}

/// `wait` prints exit codes instead.
pub(super) async fn wait(context: &Context, args: &args::wait::Wait) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.containers, async |name| output::line(engine.wait_for(name, args.condition).await?)).await
}

/// `rm`.
pub(super) async fn rm(context: &Context, args: &args::rm::Rm) -> anyhow::Result<()> {
    let engine = context.engine()?;
    let options = RemoveOptions { force: args.force, volumes: args.volumes };
    each(&args.containers, async |name| match engine.remove(name, options).await {
        // What is not there needs no force to be gone, so with force it is no failure.
        Err(error) if args.force && error.kind() == mica_engine::Kind::NotFound => {
            output::error(&error.into());
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(()) => output::line(name),
    })
    .await
}

/// `rename`.
pub(super) async fn rename(context: &Context, args: &args::rename::Rename) -> anyhow::Result<()> {
    Ok(context.engine()?.rename(&args.container, &args.name).await?)
}

fn options(args: &args::stop::Stop) -> StopOptions {
    StopOptions { signal: args.signal.clone(), timeout: args.timeout }
}
