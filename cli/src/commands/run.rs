//! `run`: in the background it prints the ID; in the foreground it becomes the container's terminal and exit code.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use mica_engine::ops::create::CreateRequest;
use mica_engine::ops::pull::Pulling;
use mica_engine::ops::run::RunRequest;
use mica_engine::ops::start::{StartOptions, Started};
use mica_engine::{Engine, Kind};

use super::status;
use crate::args::container::{ContainerArgs, Pull, StreamName};
use crate::args::run::{Finish, Run};
use crate::context::Context;
use crate::failure::{Status, run_code};
use crate::progress::layers::Layers;
use crate::progress::pulling::{Begin, Pulling as Progress};
use crate::stream::{self, Ending, Signals, Streams};
use crate::{files, output, spec, terminal};

/// `run`. Its failures have exit codes of their own, because the container's are any other.
pub(super) async fn run(context: &Context, args: &Run) -> anyhow::Result<()> {
    match perform(context, args).await {
        Err(failure) if !failure.is::<Status>() && !failure.is::<output::Closed>() => {
            output::error(&failure);
            Err(Status(run_code(&failure)).into())
        }
        result => result,
    }
}

async fn perform(context: &Context, args: &Run) -> anyhow::Result<()> {
    let request = request(context, &args.container)?;
    if args.detach && !args.container.attach.is_empty() {
        anyhow::bail!("conflicting options: `--attach` and `--detach`");
    }
    let streams = streams(args);
    if !args.detach {
        streams.check()?;
    }
    refuse_cidfile(args.container.cidfile.as_deref())?;
    let engine = context.engine()?;
    let terminal_size = if args.container.tty { terminal::size() } else { None };
    let request = RunRequest { create: request, start: StartOptions { terminal_size, detach: args.detach } };
    let running = engine.run(request).await?;
    write_cidfile(args.container.cidfile.as_deref(), &running.started.id)?;
    if args.detach {
        return output::line(&running.started.id);
    }
    follow(&engine, running.started, &streams, args.sig_proxy).await
}

/// What `run` and `create` ask the engine for.
pub(super) fn request(context: &Context, args: &ContainerArgs) -> anyhow::Result<CreateRequest> {
    let settings = &context.settings;
    let defaults = spec::Defaults { network: &settings.network, size: settings.container_size.as_deref() };
    let begin = if args.pull == Pull::Missing { Begin::Missing } else { Begin::Asked };
    let layers = if args.quiet { Layers::silent() } else { Layers::on_stderr() };
    let pulling =
        Pulling { policy: args.pull.into(), platform: None, progress: Arc::new(Progress::new(layers, begin)) };
    Ok(CreateRequest { spec: spec::container(args, defaults)?, pulling })
}

/// Carries a started container to its end and takes its exit code.
pub(super) async fn follow(
    engine: &Engine,
    started: Started,
    streams: &Streams,
    sig_proxy: bool,
) -> anyhow::Result<()> {
    let id = started.id;
    let signals = if sig_proxy { Signals::Container(engine, &id) } else { Signals::Nobody };
    match stream::carry(started.session, streams, signals).await? {
        Ending::Exited(code) => {
            engine.run_finished(&id).await?;
            status(code)
        }
        Ending::Detached => leave(engine, &id).await,
        Ending::Lost => {
            let code = engine.wait(&id).await?;
            engine.run_finished(&id).await?;
            status(code)
        }
        Ending::Signalled(number) => {
            leave(engine, &id).await?;
            status(128 + number)
        }
        Ending::Closed => {
            // A closed pipe is a signal too, and process 1 of a container would ignore the one a pipe sends.
            if sig_proxy {
                let _ = engine.kill(&id, "KILL").await;
                engine.wait(&id).await?;
                engine.run_finished(&id).await?;
            } else {
                leave(engine, &id).await?;
            }
            Err(output::Closed.into())
        }
    }
}

/// `__finish`: stays in the place of a client that left a container made with `--rm`.
pub(super) async fn finish(context: &Context, args: &Finish) -> anyhow::Result<()> {
    let engine = context.engine()?;
    engine.wait(&args.id).await?;
    Ok(engine.run_finished(&args.id).await?)
}

/// Leaves a running container. The client of a foreground container removes it at its end when it was made with `--rm`;
/// one that leaves earlier starts somebody who stays.
async fn leave(engine: &Engine, id: &str) -> anyhow::Result<()> {
    let removes = match engine.container(id).await {
        Ok(summary) => summary.record.spec.auto_remove,
        Err(error) if error.kind() == Kind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    if let (true, Some((program, flags))) = (removes, engine.options().self_command.split_first()) {
        let mut command = std::process::Command::new(program);
        command.args(flags).args(["__finish", id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a process group of its own, keys typed at this terminal do not reach it.
        command.process_group(0).spawn()?;
    }
    Ok(())
}

/// A file that is there may be another container's.
pub(super) fn refuse_cidfile(path: Option<&Path>) -> anyhow::Result<()> {
    match path {
        Some(path) if path.exists() => {
            anyhow::bail!(
                "container ID file found, make sure the other container isn't running or delete `{}`",
                path.display()
            )
        }
        _ => Ok(()),
    }
}

/// Writes `--cidfile`.
pub(super) fn write_cidfile(path: Option<&Path>, id: &str) -> anyhow::Result<()> {
    path.map_or(Ok(()), |path| files::create_new(path, id))
}

fn streams(args: &Run) -> Streams {
    let container = &args.container;
    let named = |stream| container.attach.is_empty() || container.attach.contains(&stream);
    Streams {
        stdin: container.interactive || container.attach.contains(&StreamName::Stdin),
        stdout: named(StreamName::Stdout),
        stderr: named(StreamName::Stderr),
        tty: container.tty,
        detach_keys: args.detach_keys.clone().unwrap_or_default(),
    }
}
