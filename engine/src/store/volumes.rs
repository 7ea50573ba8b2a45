//! Local volumes: directories below `volumes/`, and their rows.
//!
//! The directory comes before the row and goes after it. Whoever makes, fills or removes a volume holds an flock on its
//! directory until the row says so too, so that nobody mounts what somebody else removes.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mica_layer::beneath::{self, NewDir};
use mica_layer::{CopyOptions, copy_into};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid, open};
use serde::{Deserialize, Serialize};

use super::images::collect;
use super::{Store, private_directory};
use crate::container::{VolumeMount, VolumeSpec};
use crate::{Error, Kind, Result};

/// The one driver of volumes.
pub(crate) const LOCAL: &str = "local";

/// A volume as its row has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeRecord {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// RFC 3339 time of creation.
    #[serde(skip)]
    pub created: String,
    /// True when it was made without a name.
    pub anonymous: bool,
    /// The driver, `local`.
    pub driver: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver: what is mounted when a container uses the volume.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// A volume's directory that nobody else makes, fills or removes meanwhile.
#[derive(Debug)]
pub(crate) struct VolumeHold {
    directory: OwnedFd,
}

impl VolumeHold {
    /// The directory with the volume's files.
    pub(crate) fn data(&self, name: &str) -> Result<OwnedFd> {
        beneath::open_dir(&self.directory, Path::new("_data")).map_err(|source| Error::Layer {
            operation: "open volume",
            layer: name.to_owned(),
            source,
        })
    }
}

impl Store {
    /// Where a volume's files are.
    pub(crate) fn volume_data(&self, name: &str) -> PathBuf {
        self.root().join("volumes").join(name).join("_data")
    }

    /// Makes a volume's directory if it is missing, and holds it.
    pub(crate) fn hold_volume(&self, name: &str) -> Result<VolumeHold> {
        let path = self.root().join("volumes").join(name);
        loop {
            private_directory(&path)?;
            let Some(directory) = lock(&path)? else { continue };
            beneath::mkdir_all(&directory, Path::new("_data"), NewDir::default()).map_err(|source| Error::Layer {
                operation: "make volume",
                layer: name.to_owned(),
                source,
            })?;
            return Ok(VolumeHold { directory });
        }
    }

    /// Holds a volume's directory that is to be removed; `None` when there is none.
    pub(crate) fn hold_old_volume(&self, name: &str) -> Result<Option<VolumeHold>> {
        let path = self.root().join("volumes").join(name);
        loop {
            if !path.is_dir() {
                return Ok(None);
            }
            if let Some(directory) = lock(&path)? {
                return Ok(Some(VolumeHold { directory }));
            }
        }
    }

    /// Brings the names of a new volume's directories to the disk.
    pub(crate) fn flush_volume(&self, hold: &VolumeHold) -> Result<()> {
        let volumes = self.root().join("volumes");
        rustix::fs::fsync(&hold.directory).map_err(|errno| Error::io("flush", &volumes)(errno.into()))?;
        super::flush_directory(&volumes)
    }

    /// Removes a volume's directory; a missing one is no error.
    pub(crate) fn remove_volume_directory(&self, name: &str) -> Result<()> {
        super::containers::remove_directory(&self.root().join("volumes").join(name))
    }
}

/// Opens and locks a directory; `None` when it is not the one of that name any more.
fn lock(path: &Path) -> Result<Option<OwnedFd>> {
    let directory = match open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(directory) => directory,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::io("open", path)(errno.into())),
    };
    rustix::io::retry_on_intr(|| rustix::fs::flock(&directory, FlockOperation::LockExclusive))
        .map_err(|errno| Error::io("lock", path)(errno.into()))?;
    let mine = rustix::fs::fstat(&directory).map_err(|errno| Error::io("look at", path)(errno.into()))?;
    Ok(fs_err::metadata(path).is_ok_and(|now| now.ino() == mine.st_ino).then_some(directory))
}

/// Fills an empty directory with what an image has at a path, owner and mode included. True when it did. Where the image has
/// nothing, the directory is given to `root`, who is root of a container with a user namespace of its own.
pub(crate) fn fill(
    data: impl AsFd,
    image: impl AsFd,
    target: &str,
    name: &str,
    root: Option<(u32, u32)>,
) -> Result<bool> {
    let fail = |verb: &'static str| move |errno: rustix::io::Errno| Error::io(verb, name)(errno.into());
    if !is_empty(&data).map_err(fail("list volume"))? {
        return Ok(false);
    }
    let target = Path::new(target.trim_start_matches('/'));
    // Not in the image, or not a directory there: the volume stays as it is.
    let Ok(source) = beneath::open_dir(&image, target) else {
        let Some((uid, gid)) = root else { return Ok(false) };
        let given = rustix::fs::fchown(&data, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        return given.map(|()| true).map_err(fail("set the owner of volume"));
    };
    let options = CopyOptions { follow: true, ..CopyOptions::default() };
    copy_into(image.as_fd(), target, data.as_fd(), Path::new(""), &options).map_err(|source| Error::Layer {
        operation: "fill volume",
        layer: name.to_owned(),
        source,
    })?;
    // A program that was given a directory of its own by the image finds it its own.
    let found = rustix::fs::fstat(&source).map_err(fail("look at volume"))?;
    rustix::fs::fchown(&data, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))
        .and_then(|()| rustix::fs::fchmod(&data, Mode::from_raw_mode(found.st_mode & 0o7777)))
        .map_err(fail("set the owner of volume"))?;
    Ok(true)
}

/// Refuses what Docker refuses as the name of a volume. Names are file names.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let shown = name.chars().take(255).flat_map(char::escape_debug).collect::<String>();
    let clean = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() == 1 {
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("create {shown}: volume name is too short, names should be at least two alphanumeric characters"),
        ));
    }
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(clean) && name.len() <= 255 {
        return Ok(());
    }
    Err(Error::refused(
        Kind::InvalidInput,
        format!(
            "create {shown}: `{shown}` includes invalid characters for a local volume name, only \
             `[a-zA-Z0-9][a-zA-Z0-9_.-]` are allowed"
        ),
    )
    .with_hint("to pass a directory of the host, name it by an absolute path"))
}

/// Refuses drivers and options that no volume can be made with.
pub(crate) fn check_spec(name: &str, spec: &VolumeSpec) -> Result<()> {
    if let Some(driver) = spec.driver.as_deref().filter(|driver| !driver.is_empty() && *driver != LOCAL) {
        let message = format!("create {name}: error looking up volume plugin {driver}: plugin `{driver}` not found");
        return Err(Error::refused(Kind::NotFound, message).with_hint("the driver of volumes is `local`"));
    }
    let refuse = |what: String| Err(Error::refused(Kind::InvalidInput, format!("create {name}: {what}")));
    if let Some(option) = spec.options.keys().find(|key| !matches!(key.as_str(), "type" | "device" | "o" | "size")) {
        return refuse(format!("invalid option: `{}`", option.escape_debug()));
    }
    if spec.options.contains_key("size") {
        return Err(Error::refused(
            Kind::Unsupported,
            format!("create {name}: quota size requested but no quota support"),
        )
        .with_hint("a size of a tmpfs is part of `o`: --opt o=size=1m"));
    }
    let given = |key: &str| spec.options.get(key).is_some_and(|value| !value.is_empty());
    if !spec.options.is_empty() {
        for wanted in ["device", "type"] {
            if !given(wanted) {
                return refuse(format!("missing required option: `{wanted}`"));
            }
        }
    }
    if spec.labels.keys().any(String::is_empty) {
        return refuse("a label has no name".into());
    }
    Ok(())
}

/// Records a volume that a container mounts; false when it is known, and stays.
pub(crate) fn insert(db: &Transaction<'_>, volume: &VolumeMount, created: &str) -> Result<bool> {
    add(db, &of_mount(volume, created))
}

/// The row of a volume that is made because a container mounts it.
pub(crate) fn of_mount(volume: &VolumeMount, created: &str) -> VolumeRecord {
    VolumeRecord {
        name: volume.name.clone(),
        created: created.to_owned(),
        anonymous: volume.anonymous,
        driver: LOCAL.to_owned(),
        labels: volume.spec.labels.clone(),
        options: volume.spec.options.clone(),
    }
}

/// Records a volume; false when one of that name is known, which stays as it is.
pub(crate) fn add(db: &Transaction<'_>, record: &VolumeRecord) -> Result<bool> {
    let text = serde_json::to_string(record).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    db.execute(
        "INSERT OR IGNORE INTO volumes (name, created, record) VALUES (?1, ?2, ?3)",
        params![record.name, record.created, text],
    )
    .map(|rows| rows > 0)
    .map_err(Error::database("record a volume"))
}

/// Forgets a volume; false when nobody knew it.
pub(crate) fn delete(db: &Transaction<'_>, name: &str) -> Result<bool> {
    db.execute("DELETE FROM volumes WHERE name = ?1", [name])
        .map(|rows| rows > 0)
        .map_err(Error::database("remove a volume"))
}

/// True when a volume has a row.
pub(crate) fn is_known(db: &Connection, name: &str) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM volumes WHERE name = ?1")
        .and_then(|mut statement| statement.exists([name]))
        .map_err(Error::database("look up a volume"))
}

/// A volume by its name.
pub(crate) fn find(db: &Connection, name: &str) -> Result<VolumeRecord> {
    let found = db
        .query_row("SELECT name, created, record FROM volumes WHERE name = ?1", [name], row)
        .optional()
        .map_err(Error::database("look up a volume"))?;
    found.map_or_else(|| Err(no_such(name)), read)
}

/// All volumes, by name.
pub(crate) fn all(db: &Connection) -> Result<Vec<VolumeRecord>> {
    let rows = collect(db, "SELECT name, created, record FROM volumes ORDER BY name", [], row)?;
    rows.into_iter().map(read).collect()
}

/// That there is no such volume.
pub(crate) fn no_such(name: &str) -> Error {
    let shown: String = name.chars().take(255).flat_map(char::escape_debug).collect();
    Error::refused(Kind::NotFound, format!("no such volume: `{shown}`"))
}

fn row(row: &Row<'_>) -> rusqlite::Result<(String, String, String)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn read((name, created, text): (String, String, String)) -> Result<VolumeRecord> {
    let record: VolumeRecord = serde_json::from_str(&text).map_err(|error| {
        Error::refused(Kind::Corrupt, format!("the record of volume `{name}` cannot be read: {error}"))
    })?;
    Ok(VolumeRecord { name, created, ..record })
}

fn is_empty(directory: impl AsFd) -> rustix::io::Result<bool> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for (name, words) in [
            ("ab", None),
            ("a.b_c-1", None),
            ("a", Some("volume name is too short")),
            ("", Some("includes invalid characters")),
            ("-x", Some("includes invalid characters")),
            ("a b", Some("create a b: `a b` includes invalid characters for a local volume name")),
            ("a/b", Some("includes invalid characters")),
            ("..", Some("includes invalid characters")),
        ] {
            let found = check_name(name).map_err(|error| error.to_string());
            match (found, words) {
                (Ok(()), None) => {}
                (Err(said), Some(words)) => assert!(said.contains(words), "{name}: {said}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn options_are_those_of_the_local_driver() {
        let spec = |driver: Option<&str>, options: &[(&str, &str)]| VolumeSpec {
            driver: driver.map(str::to_owned),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..VolumeSpec::default()
        };
        for (spec, words) in [
            (spec(None, &[]), None),
            (spec(Some("local"), &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")]), None),
            (spec(Some("nope"), &[]), Some("create vv: error looking up volume plugin nope: plugin `nope` not found")),
            (spec(None, &[("type", "tmpfs")]), Some("create vv: missing required option: `device`")),
            (spec(None, &[("device", "/x"), ("o", "bind")]), Some("create vv: missing required option: `type`")),
            (spec(None, &[("what", "x")]), Some("create vv: invalid option: `what`")),
        ] {
            let found = check_spec("vv", &spec).map_err(|error| error.to_string());
            assert_eq!(found.err().as_deref(), words, "{spec:?}");
        }
    }
}
