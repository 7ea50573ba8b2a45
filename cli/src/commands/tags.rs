//! `image tags`: what a repository has in its registry. Nothing is pulled and no store is needed.

use anyhow::ensure;
use mica_engine::Reference;
use mica_engine::registry::Registry as _;

use crate::args::tags::Tags;
use crate::context::Context;
use crate::output::listing::{self, Style};
use crate::views::row;
use crate::{output, wire};

/// `image tags`.
pub(super) async fn run(context: &Context, args: &Tags) -> anyhow::Result<()> {
    let repository = Reference::parse_name(&args.repository)?;
    ensure!(
        repository.tag().is_none() && repository.digest().is_none(),
        "`{}` is an image; the tags are its repository's, `{}`",
        args.repository,
        repository.familiar_repository()
    );
    let tags = wire::registry(&context.settings).tags(&repository).await?;
    let rows: Vec<_> = tags.iter().map(|tag| row::tag(&repository.familiar_repository(), tag)).collect();
    let style = Style { format: args.format.as_deref(), quiet: args.format.is_none() };
    output::raw(listing::render(&row::TAGS, style, &rows)?.as_bytes())
}
