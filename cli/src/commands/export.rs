//! `export`: a tar stream to a file or a pipe, never to a terminal.

use std::io::{IsTerminal, Write};
use std::path::Path;

use crate::args::export::Export;
use crate::context::Context;
use crate::{files, output};

/// `export`.
pub(super) async fn run(context: &Context, args: &Export) -> anyhow::Result<()> {
    let sink = sink(args.output.as_deref())?;
    written(context.engine()?.export(&args.container, sink).await)
}

/// The outcome of writing an archive: one whose reader has gone is no failure worth a message.
pub(super) fn written(outcome: mica_engine::Result<()>) -> anyhow::Result<()> {
    let failure = match outcome {
        Ok(()) => return Ok(()),
        Err(error) => anyhow::Error::new(error),
    };
    let closed = failure.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    });
    if closed { Err(output::Closed.into()) } else { Err(failure) }
}

/// Where an archive goes.
pub(super) fn sink(path: Option<&Path>) -> anyhow::Result<Box<dyn Write + Send>> {
    match path {
        Some(path) => Ok(Box::new(files::create(path)?)),
        None if std::io::stdout().is_terminal() => {
            anyhow::bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        }
        // The standard library flushes at every newline, which an archive has many of.
        None => Ok(Box::new(std::fs::File::from(rustix::io::dup(std::io::stdout())?))),
    }
}
