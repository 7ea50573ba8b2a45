//! `storage ls`.

use mica_storage_loader::{Candidate, Examined, Refusal, SearchPath, candidates};
use serde_json::{Map, Value as Json, json};

use super::scratch::{self, Scratch};
use super::{abilities, settled, why};
use crate::args::storage::Ls;
use crate::context::Context;
use crate::output::listing::{self, Columns, Style};
use crate::settings::Settings;
use crate::{output, wire};

/// Headings that are empty belong to what another column shows beside its own.
const COLUMNS: Columns = Columns {
    headings: &[
        ("Name", "NAME"),
        ("Version", "VERSION"),
        ("ABI", "ABI"),
        ("Path", "PATH"),
        ("Status", "STATUS"),
        ("Reason", ""),
        ("Current", ""),
        ("Digest", "DIGEST"),
        ("Capabilities", "CAPABILITIES"),
        ("Whiteout", "WHITEOUT"),
        ("MaxParents", "MAX PARENTS"),
        ("BackingFilesystem", "FILE SYSTEM"),
        ("Detail", "DETAIL"),
    ],
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Version}}\t{{.ABI}}\t{{.Path}}\t{{.Status}}{{if .Reason}}: {{.Reason}}{{end}}",
    quiet: "{{.Name}}",
};
const WITH_DIGESTS: Columns = Columns {
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Version}}\t{{.ABI}}\t{{.Digest}}\t{{.Path}}\t{{.Status}}{{if .Reason}}: {{.Reason}}{{end}}",
    ..COLUMNS
};
const LOADED: Columns = Columns {
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Version}}\t{{.ABI}}\t{{.Path}}\t{{join .Capabilities \" \"}}\t{{.Status}}{{if .Reason}}: {{.Reason}}{{end}}",
    ..COLUMNS
};

/// `storage ls`.
pub(super) fn run(context: &Context, args: &Ls) -> anyhow::Result<()> {
    let settings = &context.settings;
    let search = wire::driver_search(settings);
    let current = settled(settings)?;
    // Digests cost reading the files, so they are made where they can be seen.
    let digests = args.digests || args.format.as_deref().is_some_and(|format| !format.starts_with("table"));
    let scratch = if args.load { Some(Scratch::of_store(settings)?) } else { None };
    let mut rows = Vec::new();
    for candidate in candidates(&search) {
        let mut row = row(&candidate, current.as_deref(), digests);
        if let (Some(scratch), Ok(_)) = (&scratch, &candidate.outcome) {
            load(&mut row, &candidate, &search, scratch, settings);
        }
        rows.push(row);
    }
    if args.quiet {
        rows.retain(|row| row["Status"] == "usable");
    }
    let columns = match (args.load, args.digests) {
        (true, _) => &LOADED,
        (false, true) => &WITH_DIGESTS,
        (false, false) => &COLUMNS,
    };
    let style = Style { format: args.format.as_deref(), quiet: args.quiet };
    output::raw(listing::render(columns, style, &rows)?.as_bytes())
}

fn row(candidate: &Candidate, current: Option<&str>, digests: bool) -> Map<String, Json> {
    let note = candidate.outcome.as_ref().ok().and_then(|examined| examined.note.as_ref());
    let (status, reason) = match &candidate.outcome {
        Ok(_) => ("usable", String::new()),
        Err(Refusal::Shadowed { by }) => ("shadowed", format!("`{}` comes first", by.display())),
        Err(refusal) => ("refused", refusal.to_string()),
    };
    let chosen = current.is_some_and(|current| current == candidate.name || *current == *candidate.path);
    let digest = candidate.outcome.as_ref().ok().filter(|_| digests).and_then(|file| Examined::digest(file).ok());
    let fields = [
        ("Name", candidate.name.clone().into()),
        ("Version", note.map_or("-", |note| &note.version).into()),
        ("ABI", note.map_or_else(|| "-".to_owned(), |note| format!("{}.{}", note.abi.0, note.abi.1)).into()),
        ("Path", candidate.path.to_string_lossy().into()),
        ("Status", status.into()),
        ("Reason", reason.into()),
        ("Current", (status == "usable" && chosen).into()),
        ("Digest", digest.unwrap_or_default().into()),
        ("Capabilities", json!([])),
        ("Whiteout", "".into()),
        ("MaxParents", 0.into()),
        ("BackingFilesystem", "".into()),
        ("Detail", "".into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Puts in what the library itself says, and what it can do on the file system of the store.
fn load(
    row: &mut Map<String, Json>,
    candidate: &Candidate,
    search: &SearchPath,
    scratch: &Scratch,
    settings: &Settings,
) {
    let mut says = |status: &str, reason: String| {
        row.insert("Status".to_owned(), status.into());
        row.insert("Reason".to_owned(), reason.into());
    };
    let plugin = match search.load_file(&candidate.path) {
        Ok(plugin) => plugin,
        Err(error) => return says("refused", why(error)),
    };
    match scratch::open(&plugin, &scratch.path().join(plugin.name()), settings) {
        Ok(driver) => row.extend(abilities(driver.info())),
        Err(error) => says("does not work here", why(error)),
    }
    row.insert("Version".to_owned(), plugin.version().into());
    row.insert("ABI".to_owned(), format!("{}.{}", plugin.abi().0, plugin.abi().1).into());
}
