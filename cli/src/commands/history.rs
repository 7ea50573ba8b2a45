//! `history`.

use jiff::Timestamp;

use crate::args::history::History;
use crate::context::Context;
use crate::output;
use crate::output::listing::{self, Style};
use crate::views::row::{self, Detail};

/// `history`.
pub(super) async fn run(context: &Context, args: &History) -> anyhow::Result<()> {
    let lines = context.engine()?.history(&args.image).await?;
    let detail = if args.no_trunc { Detail::Whole } else { Detail::Short };
    let now = Timestamp::now();
    let rows: Vec<_> = lines.iter().map(|line| row::history(line, detail, args.human, now)).collect();
    let style = Style { format: args.format.as_deref(), quiet: args.quiet };
    output::raw(listing::render(&row::HISTORY, style, &rows)?.as_bytes())
}
