//! `rmi`: says each name and each layer that went.

use mica_engine::ops::rmi::{RemoveImage, Removed};

use super::each;
use crate::args::rmi::Rmi;
use crate::context::Context;
use crate::failure::by_given_name;
use crate::output;

/// `rmi`.
pub(super) async fn run(context: &Context, args: &Rmi) -> anyhow::Result<()> {
    let engine = context.engine()?;
    each(&args.images, async |name| match engine.remove_image(name, RemoveImage { force: args.force }).await {
        Ok(removed) => removed.iter().try_for_each(|removed| output::line(describe(removed))),
        // What is not there needs no force to be gone, so with force it is no failure.
        Err(error) if args.force && error.kind() == mica_engine::Kind::NotFound => {
            output::error(&by_given_name(error, &args.images));
            Ok(())
        }
        Err(error) => Err(by_given_name(error, &args.images)),
    })
    .await
}

/// Docker's words for what went.
pub(super) fn describe(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(reference) => format!("Untagged: {}", reference.familiar()),
        Removed::Deleted(digest) => format!("Deleted: {digest}"),
    }
}
