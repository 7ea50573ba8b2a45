//! `diff`: one letter and one path a line.

use mica_layer::{Change, ChangeKind};
use serde_json::{Map, Value};

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
    let engine = context.engine()?;
    let changes = match &args.other {
        None => engine.diff(&args.container).await?,
        Some(other) => engine.diff_between(&args.container, other).await?,
    };
    if args.format.as_deref() == Some("json") {
        return json(&changes);
    }
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

/// Three lists of paths in one document, as Podman has it.
fn json(changes: &[Change]) -> anyhow::Result<()> {
    let mut lists = Map::new();
    for change in changes {
        let name = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Modified | ChangeKind::Opaque => "changed",
            ChangeKind::Deleted => "deleted",
        };
        let list = lists.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(paths) = list {
            paths.push(format!("/{}", change.path.display()).into());
        }
    }
    output::line(serde_json::to_string_pretty(&lists)?)
}
