//! `start`: prints the names, or becomes the terminal of one container.

use mica_engine::ops::start::StartOptions;

use super::{each, run};
use crate::args::start::Start;
use crate::context::Context;
use crate::stream::Streams;
use crate::{output, terminal};

/// `start`.
pub(super) async fn run(context: &Context, args: &Start) -> anyhow::Result<()> {
    let engine = context.engine()?;
    if !args.attach && !args.interactive {
        let names = if args.at_boot { engine.to_start_at_boot().await? } else { args.containers.clone() };
        return each(&names, async |name| {
            engine.start(name, StartOptions { terminal_size: None, detach: true }).await?;
            output::line(name)
        })
        .await;
    }
    let [name] = args.containers.as_slice() else {
        anyhow::bail!("you cannot start and attach multiple containers at once");
    };
    let record = engine.container(name).await?.record;
    let streams = Streams {
        stdin: args.interactive && record.spec.stdin_open,
        stdout: true,
        stderr: true,
        tty: record.spec.tty,
        detach_keys: args.detach_keys.clone().unwrap_or_default(),
    };
    streams.check()?;
    let terminal_size = if streams.tty { terminal::size() } else { None };
    let started = engine.start(name, StartOptions { terminal_size, detach: false }).await?;
    run::follow(&engine, started, &streams, true).await
}
