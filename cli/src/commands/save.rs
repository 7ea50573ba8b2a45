//! `save`: images to a file, a folder or a pipe, never to a terminal.

use std::path::Path;

use mica_engine::Kind;
use mica_engine::ops::save::{SaveRequest, SaveTarget};

use super::export::{sink, written};
use crate::args::save::Save;
use crate::context::Context;
use crate::failure::by_given_name;
use crate::files;

/// `save`.
pub(super) async fn run(context: &Context, args: &Save) -> anyhow::Result<()> {
    let target = target(args)?;
    let request = SaveRequest {
        names: args.images.clone(),
        format: args.format.into(),
        compress: args.compress,
        platform: args.platform.clone(),
    };
    match context.engine()?.save(request, target).await {
        Err(error) if error.kind() == Kind::NotFound => Err(by_given_name(error, &args.images)),
        outcome => written(outcome),
    }
}

fn target(args: &Save) -> anyhow::Result<SaveTarget> {
    let umask = files::umask_of_caller();
    Ok(match &args.output {
        None if args.format.is_folder() => anyhow::bail!("this format is a folder: name one with `--output`"),
        Some(path) if args.format.is_folder() => SaveTarget::Folder { path: path.clone(), umask },
        Some(path) if is_replaced(path) => {
            // Through a link, so that the link stays.
            SaveTarget::File { path: fs_err::canonicalize(path).unwrap_or_else(|_| path.clone()), umask }
        }
        other => SaveTarget::Stream(sink(other.as_deref())?),
    })
}

/// True for a file and for nothing at all; a pipe or a device is written into.
fn is_replaced(path: &Path) -> bool {
    fs_err::metadata(path).map_or(true, |found| found.is_file())
}
