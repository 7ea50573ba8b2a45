//! Where a container's output is kept: what its log driver and the options of that mean for the monitor.

use std::collections::BTreeMap;
use std::path::Path;

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
    let files = |size: Option<u64>, number: u32| {
        LogTarget::Files(LogFilesTarget {
            path: directories.log(&record.id),
            max_size: log.max_size.or(size),
            max_files: log.max_files.unwrap_or(number),
            attributes: attributes(record),
        })
    };
    Ok(match log.driver {
        LogDriver::None => None,
        LogDriver::JsonFile => Some(files(None, 1)),
        LogDriver::Local => Some(files(Some(LOCAL_SIZE), LOCAL_FILES)),
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

/// The labels and variables that the options name, and the tag.
fn attributes(record: &ContainerRecord) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let options = &record.spec.log.options;
    let named = |option: &str| {
        let list = options.get(option).cloned().unwrap_or_default();
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let labels = record.config.labels.clone().unwrap_or_default();
    for name in named("labels") {
        if let Some(value) = labels.get(&name) {
            found.insert(name, value.clone());
        }
    }
    for name in named("env") {
        let value = record.config.env.iter().find_map(|entry| entry.strip_prefix(&name)?.strip_prefix('='));
        if let Some(value) = value {
            found.insert(name, value.to_owned());
        }
    }
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
