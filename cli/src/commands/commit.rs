//! `commit`: prints the new image's ID.

use mica_engine::ops::commit::{CommitRequest, Processes};

use crate::args::commit::Commit;
use crate::context::Context;
use crate::output;

/// `commit`.
pub(super) async fn run(context: &Context, args: &Commit) -> anyhow::Result<()> {
    let request = CommitRequest {
        container: args.container.clone(),
        reference: args.reference.clone(),
        author: args.author.clone(),
        message: args.message.clone(),
        changes: args.changes.clone(),
        processes: if args.pause && !args.no_pause { Processes::Paused } else { Processes::Running },
    };
    output::line(context.engine()?.commit(request).await?)
}
