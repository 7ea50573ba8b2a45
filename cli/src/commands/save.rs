//! `save`: images to a file or a pipe, never to a terminal.

use super::export::{sink, written};
use crate::args::save::Save;
use crate::context::Context;

/// `save`.
pub(super) async fn run(context: &Context, args: &Save) -> anyhow::Result<()> {
    let engine = context.engine()?;
    // A wrong name must not empty the file that is there.
    for name in &args.images {
        engine.inspect_image(name).await?;
    }
    written(engine.save(&args.images, args.format.into(), sink(args.output.as_deref())?).await)
}
