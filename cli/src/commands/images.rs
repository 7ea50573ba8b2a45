//! `images`.

use jiff::Timestamp;

use super::pairs;
use crate::args::images::Images;
use crate::context::Context;
use crate::output;
use crate::output::listing::{self, Style};
use crate::views::row::{self, Detail};

/// `images`.
pub(super) async fn run(context: &Context, args: &Images) -> anyhow::Result<()> {
    let mut filters = pairs(&args.filters)?;
    filters.extend(args.reference.iter().map(|pattern| ("reference".to_owned(), pattern.clone())));
    let images = context.engine()?.images(&filters).await?;
    let detail = if args.no_trunc { Detail::Whole } else { Detail::Short };
    let now = Timestamp::now();
    let mut rows: Vec<_> = images.iter().flat_map(|image| row::image(image, detail, now)).collect();
    if args.quiet {
        // One ID a line, however many names it has, is what `rmi $(images -q)` needs.
        rows.dedup_by(|next, row| next["ID"] == row["ID"]);
    }
    let columns = if args.digests { &row::IMAGES_WITH_DIGESTS } else { &row::IMAGES };
    let style = Style { format: args.format.as_deref(), quiet: args.quiet };
    output::raw(listing::render(columns, style, &rows)?.as_bytes())
}
