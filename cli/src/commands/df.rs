//! `system df`.

use mica_engine::ops::df::UsageLine;
use serde_json::Map;

use crate::args::system::Df;
use crate::context::Context;
use crate::output::listing::{self, Columns, Style};
use crate::output::{self, human};

const COLUMNS: Columns = Columns {
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
};

/// `system df`.
pub(super) async fn run(context: &Context, args: &Df) -> anyhow::Result<()> {
    let usage = context.engine()?.disk_usage().await?;
    let lines = [
        ("Images", usage.images),
        ("Containers", usage.containers),
        ("Local Volumes", usage.volumes),
        ("Build Cache", usage.build_cache),
    ];
    let rows: Vec<_> = lines
        .iter()
        .map(|(name, line)| {
            Map::from_iter([
                ("Type".to_owned(), (*name).into()),
                ("TotalCount".to_owned(), line.total.to_string().into()),
                ("Active".to_owned(), line.active.to_string().into()),
                ("Size".to_owned(), human::size(line.size).into()),
                ("Reclaimable".to_owned(), reclaimable(line).into()),
            ])
        })
        .collect();
    output::raw(listing::render(&COLUMNS, Style { format: args.format.as_deref(), quiet: false }, &rows)?.as_bytes())
}

fn reclaimable(line: &UsageLine) -> String {
    let size = human::size(line.reclaimable);
    match (line.reclaimable * 100).checked_div(line.size) {
        Some(percent) => format!("{size} ({percent}%)"),
        None => size,
    }
}
