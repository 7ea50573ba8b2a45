//! `create`: prints the ID of a container that has not run.

use super::run;
use crate::args::create::Create;
use crate::context::Context;
use crate::output;

/// `create`.
pub(super) async fn run(context: &Context, args: &Create) -> anyhow::Result<()> {
    let args = &args.container;
    let request = run::request(context, args)?;
    run::refuse_cidfile(args.cidfile.as_deref())?;
    let created = context.engine()?.create(request).await?;
    run::write_cidfile(args.cidfile.as_deref(), &created.id)?;
    output::line(created.id)
}
