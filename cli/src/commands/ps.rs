//! `ps`.

use jiff::Timestamp;
use mica_engine::ops::ps::PsRequest;

use crate::args::ps::Ps;
use crate::context::Context;
use crate::output;
use crate::output::listing::{self, Style};
use crate::views::row::{self, Detail};

/// `ps`.
pub(super) async fn run(context: &Context, args: &Ps) -> anyhow::Result<()> {
    let last = if args.latest {
        Some(1)
    } else {
        args.last.and_then(|last| usize::try_from(last).ok()).filter(|last| *last > 0)
    };
    // A template that names the size needs it as much as `-s` does.
    let sizes = args.size || args.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let request = PsRequest { all: args.all, last, filters: args.filters.clone(), sizes };
    let containers = context.engine()?.ps(request).await?;
    let detail = if args.no_trunc { Detail::Whole } else { Detail::Short };
    let now = Timestamp::now();
    let columns = if args.size { &row::PS_WITH_SIZE } else { &row::PS };
    let style = Style { format: args.format.as_deref(), quiet: args.quiet };
    let shown = listing::shown(columns, style);
    let rows: Vec<_> = containers.iter().map(|container| row::container(container, detail, now, &shown)).collect();
    let text = listing::render(columns, style, &rows)?;
    listing::leave((rows, containers));
    output::raw(text.as_bytes())
}
