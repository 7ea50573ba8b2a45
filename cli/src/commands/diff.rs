//! `diff`: one letter and one path a line.

use mica_layer::ChangeKind;
use serde_json::Map;

use crate::args::diff::Diff;
use crate::context::Context;
use crate::output;
use crate::output::listing::{self, Columns, Style};

const COLUMNS: Columns = Columns {
    headings: &[("Type", "CHANGE TYPE"), ("Path", "PATH")],
    table: "{{.Type}}\t{{.Path}}",
    quiet: "{{.Path}}",
};

/// `diff`.
pub(super) async fn run(context: &Context, args: &Diff) -> anyhow::Result<()> {
    let changes = context.engine()?.diff(&args.container).await?;
    let rows: Vec<_> = changes
        .iter()
        .map(|change| {
            let letter = match change.kind {
                ChangeKind::Added => "A",
                ChangeKind::Modified | ChangeKind::Opaque => "C",
                ChangeKind::Deleted => "D",
            };
            // Paths are bytes, and this is a listing for people; `cp` and `export` have the bytes.
            let path = format!("/{}", change.path.display());
            Map::from_iter([("Type".to_owned(), letter.into()), ("Path".to_owned(), path.into())])
        })
        .collect();
    let format = Some(args.format.as_deref().unwrap_or("{{.Type}} {{.Path}}"));
    output::raw(listing::render(&COLUMNS, Style { format, quiet: false }, &rows)?.as_bytes())
}
