//! `storage probe`.

use mica_engine::storage::PROBED;
use mica_storage_api::ErrorKind;
use mica_storage_loader::{Candidate, SearchPath, candidates};
use serde_json::{Map, Value as Json, json};

use super::scratch::{self, Scratch};
use super::{abilities, settled, why};
use crate::args::storage::Probe;
use crate::context::Context;
use crate::output::listing::{self, Columns, Style};
use crate::settings::Settings;
use crate::{output, wire};

const COLUMNS: Columns = Columns {
    headings: &[
        ("Name", "NAME"),
        ("Status", "STATUS"),
        ("Works", "WORKS"),
        ("Chosen", ""),
        ("BackingFilesystem", "FILE SYSTEM"),
        ("Reason", "REASON"),
        ("Remedy", ""),
        ("Capabilities", "CAPABILITIES"),
        ("Whiteout", "WHITEOUT"),
        ("MaxParents", "MAX PARENTS"),
        ("Detail", "DETAIL"),
        ("Path", "PATH"),
    ],
    table: "{{.Name}}{{if .Chosen}} *{{end}}\t{{.Status}}\t{{.BackingFilesystem}}\t{{.Reason}}{{if .Remedy}} ({{.Remedy}}){{end}}",
    quiet: "{{.Name}}",
};

/// `storage probe`.
pub(super) fn run(context: &Context, args: &Probe) -> anyhow::Result<()> {
    let settings = &context.settings;
    let scratch = match &args.folder {
        Some(folder) => Scratch::new(folder)?,
        None => Scratch::of_store(settings)?,
    };
    let search = wire::driver_search(settings);
    let usable = candidates(&search).into_iter().filter(|candidate| candidate.outcome.is_ok());
    let mut rows: Vec<_> = usable.map(|candidate| tried(&candidate, &search, &scratch, settings)).collect();
    choose(&mut rows, settled(settings)?);
    let style = Style { format: args.format.as_deref(), quiet: false };
    output::raw(listing::render(&COLUMNS, style, &rows)?.as_bytes())
}

/// Marks what Mica would use there: what was asked for or the store uses, else the first of its own that works.
fn choose(rows: &mut [Map<String, Json>], settled: Option<String>) {
    let works = |name: &str| rows.iter().any(|row| row["Name"] == name && row["Works"] == true);
    let chosen = settled.or_else(|| PROBED.into_iter().find(|name| works(name)).map(str::to_owned));
    for row in rows {
        let is_chosen = chosen.as_deref().is_some_and(|chosen| row["Name"] == chosen || row["Path"] == chosen);
        row.insert("Chosen".to_owned(), is_chosen.into());
    }
}

fn tried(candidate: &Candidate, search: &SearchPath, scratch: &Scratch, settings: &Settings) -> Map<String, Json> {
    let mut row: Map<String, Json> = [
        ("Name", candidate.name.clone().into()),
        ("Path", candidate.path.to_string_lossy().into()),
        ("Status", "refuses".into()),
        ("Works", false.into()),
        ("Reason", "".into()),
        ("Remedy", "".into()),
        ("Capabilities", json!([])),
        ("Whiteout", "".into()),
        ("MaxParents", 0.into()),
        ("BackingFilesystem", "".into()),
        ("Detail", "".into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let opened = search
        .load_file(&candidate.path)
        .and_then(|plugin| scratch::open(&plugin, &scratch.path().join(plugin.name()), settings));
    match opened {
        Ok(driver) => {
            row.insert("Status".to_owned(), "works".into());
            row.insert("Works".to_owned(), true.into());
            row.extend(abilities(driver.info()));
        }
        Err(error) => {
            row.insert("Remedy".to_owned(), remedy(error.kind()).into());
            row.insert("Reason".to_owned(), why(error).into());
        }
    }
    row
}

/// What a person can do about a refusal, beyond what the driver says itself.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotSupported => "another kernel or another driver",
        ErrorKind::Prerequisite => "an administrator can supply it",
        ErrorKind::IncompatibleFs => "another file system with `--root`, or another driver",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, works: bool) -> Map<String, Json> {
        json!({"Name": name, "Path": format!("/d/{name}.so"), "Works": works}).as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn what_is_settled_wins_and_then_the_order_of_the_engine() {
        for (works, settled, expected) in [
            (&["vfs", "btrfs", "overlay"][..], None, Some("overlay")),
            (&["vfs", "btrfs"], None, Some("btrfs")),
            // The driver that copies is never picked by itself.
            (&["vfs"], None, None),
            (&["overlay"], Some("vfs"), Some("vfs")),
            (&["overlay"], Some("/d/vfs.so"), Some("vfs")),
        ] {
            let mut rows: Vec<_> =
                ["btrfs", "overlay", "vfs"].iter().map(|name| row(name, works.contains(name))).collect();
            choose(&mut rows, settled.map(str::to_owned));
            let chosen: Vec<_> = rows.iter().filter(|row| row["Chosen"] == true).collect();
            assert_eq!(chosen.first().map(|row| row["Name"].as_str().unwrap_or_default()), expected);
            assert!(chosen.len() <= 1);
        }
    }
}
