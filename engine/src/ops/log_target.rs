//! Where a container's output is kept: what its log driver and the options of that mean for the monitor.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;

use crate::container::{ContainerRecord, LogDriver};
use crate::runtime::{JournalTarget, LogFilesTarget, LogTarget};
use crate::store::containers::Directories;
use crate::{Error, Kind, Result};

/// Where the journal listens (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Docker's size and number of files of the driver `local`.
const LOCAL_SIZE: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;

/// The target of a container that is about to start, or `None` when nothing is kept.
pub(super) fn target(record: &ContainerRecord, directories: &Directories) -> Result<Option<LogTarget>> {
    let log = &record.spec.log;
    let files = |size: Option<u64>, number: u32, compress: bool| {
        LogTarget::Files(LogFilesTarget {
            path: directories.log(&record.id),
            max_size: log.max_size.or(size),
            max_files: log.max_files.unwrap_or(number),
            compress: log.options.get("compress").map_or(compress, |value| value == "true"),
            attributes: attributes(record),
        })
    };
    Ok(match log.driver {
        LogDriver::None => None,
        LogDriver::JsonFile => Some(files(None, 1, false)),
        LogDriver::Local => Some(files(Some(LOCAL_SIZE), LOCAL_FILES, true)),
        LogDriver::Journald => Some(LogTarget::Journal(journal(record)?)),
    })
}

fn journal(record: &ContainerRecord) -> Result<JournalTarget> {
    if !Path::new(JOURNAL).exists() {
        return Err(Error::refused(
            Kind::Unsupported,
            "failed to initialize logging driver: journald is not enabled on this host",
        )
        .with_hint(format!("nothing listens at `{JOURNAL}`; use the log driver `json-file` or `local`")));
    }
    let tag = tag(record).unwrap_or_else(|| record.short_id().to_owned());
    let mut fields = BTreeMap::from([
        ("CONTAINER_ID".to_owned(), record.short_id().to_owned()),
        ("CONTAINER_ID_FULL".to_owned(), record.id.clone()),
        ("CONTAINER_NAME".to_owned(), record.name.clone()),
        ("CONTAINER_TAG".to_owned(), tag.clone()),
        ("IMAGE_NAME".to_owned(), record.image_name.clone()),
        ("SYSLOG_IDENTIFIER".to_owned(), tag),
    ]);
    for (name, value) in attributes(record) {
        // A journal's names are capitals, digits and underscores, and begin with a letter.
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        let name = name.trim_start_matches(|c: char| !c.is_ascii_uppercase());
        if !name.is_empty() && name != "TAG" {
            fields.entry(name.to_owned()).or_insert(value);
        }
    }
    Ok(JournalTarget { socket: JOURNAL.into(), fields })
}

/// The labels and variables that the options name or describe, and the tag.
fn attributes(record: &ContainerRecord) -> BTreeMap<String, String> {
    let options = &record.spec.log.options;
    let wanted = |option: &str| {
        let list: Vec<String> = options
            .get(option)
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(|name| name.trim().to_owned())
            .collect();
        let pattern = options.get(&format!("{option}-regex")).and_then(|text| Regex::new(text).ok());
        move |name: &str| {
            list.iter().any(|known| known == name) || pattern.as_ref().is_some_and(|own| own.is_match(name))
        }
    };
    let (is_label, is_variable) = (wanted("labels"), wanted("env"));
    let labels = record.config.labels.iter().flatten().filter(|(name, _)| is_label(name));
    let mut found: BTreeMap<String, String> = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
    let variables = record.config.env.iter().filter_map(|entry| entry.split_once('='));
    found.extend(
        variables.filter(|(name, _)| is_variable(name)).map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    if let Some(tag) = tag(record) {
        found.insert("tag".to_owned(), tag);
    }
    found
}

/// The option `tag` with what its template names.
fn tag(record: &ContainerRecord) -> Option<String> {
    let mut text = record.spec.log.options.get("tag")?.clone();
    let image_id = record.image_id.to_string();
    let short = record.image_id.hex().get(..12).unwrap_or_default();
    for (name, value) in [
        ("ID", record.short_id()),
        ("FullID", record.id.as_str()),
        ("Name", record.name.as_str()),
        ("ImageName", record.image_name.as_str()),
        ("ImageID", short),
        ("ImageFullID", image_id.as_str()),
        ("DaemonName", "mica"),
    ] {
        text = text.replace(&format!("{{{{.{name}}}}}"), value).replace(&format!("{{{{ .{name} }}}}"), value);
    }
    Some(text)
}
