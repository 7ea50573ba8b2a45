//! `images`.

use jiff::Timestamp;

use super::pairs;
use crate::args::images::Images;
use crate::context::Context;
use crate::output;
use crate::output::listing::{self, Style};
use crate::views::row::{self, Detail};
use crate::views::tree;

/// `images`.
pub(super) async fn run(context: &Context, args: &Images) -> anyhow::Result<()> {
    let mut filters = pairs(&args.filters)?;
    filters.extend(args.reference.iter().map(|pattern| ("reference".to_owned(), pattern.clone())));
    let detail = if args.no_trunc { Detail::Whole } else { Detail::Short };
    if args.tree {
        let tree = context.engine()?.image_tree(&filters).await?;
        return output::raw(tree::tree(&tree, detail).as_bytes());
    }
    let images = context.engine()?.images(&filters).await?;
    let now = Timestamp::now();
    let columns = if args.digests { &row::IMAGES_WITH_DIGESTS } else { &row::IMAGES };
    let style = Style { format: args.format.as_deref(), quiet: args.quiet };
    let shown = listing::shown(columns, style);
    // With `-q` one ID a line, however many names it has, is what `rmi $(images -q)` needs.
    let most = if args.quiet { 1 } else { usize::MAX };
    let rows: Vec<_> =
        images.iter().flat_map(|image| row::image(image, detail, now, &shown).into_iter().take(most)).collect();
    let text = listing::render(columns, style, &rows)?;
    listing::leave((rows, images));
    output::raw(text.as_bytes())
}
