//! `storage info`.

use std::fmt::Write as _;

use mica_engine::storage::PROBED;
use mica_storage_loader::{Driver, Plugin, SearchPath};
use serde_json::{Value as Json, json};

use super::scratch::{self, Scratch};
use super::{abilities, settled, why};
use crate::args::storage::Info;
use crate::context::Context;
use crate::failure::Advice;
use crate::settings::Settings;
use crate::template::{Template, Value};
use crate::{output, wire};

/// `storage info`.
pub(super) fn run(context: &Context, args: &Info) -> anyhow::Result<()> {
    let settings = &context.settings;
    let search = wire::driver_search(settings);
    let scratch = Scratch::of_store(settings)?;
    let (plugin, opened) = match args.driver.clone().map_or_else(|| settled(settings), |driver| Ok(Some(driver)))? {
        Some(driver) => {
            let plugin = search.load(&driver)?;
            let opened = open(&plugin, &scratch, settings);
            (plugin, opened)
        }
        None => first_that_works(&search, &scratch, settings)?,
    };
    let view = view(&plugin, &search, opened);
    match args.format.as_deref() {
        None | Some("") => output::raw(text(&view).as_bytes()),
        Some("json") => output::line(view),
        Some(format) => output::line(Template::parse(format)?.render(&Value::from_json(&view))?),
    }
}

/// Opens it where this store keeps its snapshots, or on scratch where it has none.
fn open(plugin: &Plugin, scratch: &Scratch, settings: &Settings) -> mica_storage_loader::Result<Driver> {
    let own = settings.root.join("drivers").join(plugin.name());
    let root = if own.is_dir() { own } else { scratch.path().join(plugin.name()) };
    scratch::open(plugin, &root, settings)
}

type Opened = mica_storage_loader::Result<Driver>;

fn first_that_works(search: &SearchPath, scratch: &Scratch, settings: &Settings) -> anyhow::Result<(Plugin, Opened)> {
    for name in PROBED {
        let Ok(plugin) = search.load(name) else { continue };
        if let Ok(driver) = open(&plugin, scratch, settings) {
            return Ok((plugin, Ok(driver)));
        }
    }
    Err(Advice::new("no storage driver suits this store", "`mica storage probe` says why").into())
}

fn view(plugin: &Plugin, search: &SearchPath, opened: Opened) -> Json {
    let about = plugin.info();
    let digest = plugin.path().and_then(|path| search.examine(path).ok()?.digest().ok());
    let mut view = json!({
        "Name": about.name,
        "Version": about.version,
        "License": about.license,
        "BuildID": about.build_id,
        "ABI": format!("{}.{}", about.abi.0, about.abi.1),
        "Path": about.path,
        "Digest": digest,
        "Options": about.options,
        "Works": opened.is_ok(),
    });
    if let Json::Object(fields) = &mut view {
        match opened {
            Ok(driver) => fields.extend(abilities(driver.info())),
            Err(error) => drop(fields.insert("Reason".to_owned(), why(error).into())),
        }
    }
    view
}

fn text(view: &Json) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &Json| {
        let value = match value {
            Json::Null => return,
            Json::String(text) if text.is_empty() => return,
            Json::String(text) => text.clone(),
            Json::Array(items) => items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        let _ = writeln!(out, "{name}: {value}");
    };
    for (name, field) in [
        ("Driver", "Name"),
        ("Version", "Version"),
        ("License", "License"),
        ("Build ID", "BuildID"),
        ("ABI", "ABI"),
        ("Library", "Path"),
        ("Digest", "Digest"),
        ("Works here", "Works"),
        ("Reason", "Reason"),
        ("Backing Filesystem", "BackingFilesystem"),
        ("Capabilities", "Capabilities"),
        ("Whiteout", "Whiteout"),
    ] {
        line(name, &view[field]);
    }
    match &view["MaxParents"] {
        Json::Null => {}
        limit if *limit == 0 => line("Layers in a Chain", &"any number".into()),
        limit => line("Layers in a Chain", &format!("at most {limit}").into()),
    }
    line("Detail", &view["Detail"]);
    let options = view["Options"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !options.is_empty() {
        out.push_str("Options:\n");
        for option in options.iter().filter_map(Json::as_str) {
            let _ = writeln!(out, " {option}");
        }
    }
    out
}
