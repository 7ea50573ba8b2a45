//! Volumes in Docker's shapes.

use std::collections::BTreeMap;
use std::path::Path;

use mica_engine::ops::volume::VolumeRecord;
use serde_json::{Value, json};

use super::{Row, row as fields};
use crate::output::human;
use crate::output::listing::Columns;

/// The columns of `volume ls`.
pub const VOLUMES: Columns = Columns {
    headings: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ],
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
};

/// A row of `volume ls`.
pub fn row(volume: &VolumeRecord, path: &Path) -> Row {
    let labels = &volume.labels;
    fields([
        ("Name", volume.name.clone().into()),
        ("Driver", volume.driver.clone().into()),
        ("Scope", "local".into()),
        ("Mountpoint", path.display().to_string().into()),
        ("Labels", labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",").into()),
        ("Label", labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect::<Row>().into()),
        ("Links", "N/A".into()),
        ("Size", "N/A".into()),
    ])
}

/// Everything about a volume.
pub fn details(volume: &VolumeRecord, path: &Path) -> Value {
    json!({
        "CreatedAt": human::whole_seconds(&volume.created),
        "Driver": volume.driver,
        "Labels": object(&volume.labels),
        "Mountpoint": path,
        "Name": volume.name,
        "Options": object(&volume.options),
        "Scope": "local",
    })
}

fn object(map: &BTreeMap<String, String>) -> Value {
    map.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect::<Row>().into()
}
