//! Rows of containers, their directories, and how what a person typed becomes one of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use mica_layer::ChainId;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::Deserialize;

use super::images::collect;
use super::{Store, names, private_directory};
use crate::container::{ContainerRecord, ContainerSpec};
use crate::{Error, Kind, Result, parallel};

/// Where a container's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directories {
    /// Survives a reboot: bundle, log, exit record.
    pub(crate) state: PathBuf,
    /// May vanish at reboot: lock, state, socket.
    pub(crate) run: PathBuf,
}

impl Directories {
    /// The json-file log.
    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.state.join(format!("{id}-json.log"))
    }
}

/// The right to start, recover or remove a container; dropping it lets go. It is an flock on the container's directory.
#[derive(Debug)]
pub(crate) struct Claim(#[expect(dead_code, reason = "held for the flock on it")] File);

impl Store {
    /// A container's directories, which need not exist.
    pub(crate) fn directories(&self, id: &str) -> Directories {
        let state = self.root().join("containers").join(id);
        Directories { state, run: self.run_root().join("containers").join(id) }
    }

    /// Makes a new container's directory.
    pub(crate) fn create_directories(&self, id: &str) -> Result<Directories> {
        let directories = self.directories(id);
        private_directory(&directories.state)?;
        Ok(directories)
    }

    /// Waits for the right to change a container.
    pub(crate) fn claim(&self, id: &str) -> Result<Claim> {
        let claim = self.claim_with(id, FlockOperation::LockExclusive)?;
        claim.ok_or_else(|| no_such(id))
    }

    /// Finds a container and waits for the right to change it. The record is as it is then: while somebody waited, it may have
    /// been renamed or moved to another driver.
    pub(crate) fn claim_container(&self, text: &str) -> Result<(Claim, ContainerRecord)> {
        let id = self.find_container(text)?.id;
        let claim = self.claim(&id)?;
        Ok((claim, self.find_container(&id)?))
    }

    /// The right to change a container, unless someone has it. `None` too when the directory is gone.
    pub(crate) fn try_claim(&self, id: &str) -> Result<Option<Claim>> {
        self.claim_with(id, FlockOperation::NonBlockingLockExclusive)
    }

    /// Finds a container by its ID, its name, or the beginning of its ID.
    pub(crate) fn find_container(&self, text: &str) -> Result<ContainerRecord> {
        self.read(|db| find(db, text))
    }

    fn claim_with(&self, id: &str, operation: FlockOperation) -> Result<Option<Claim>> {
        let path = self.directories(id).state;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(directory) => File::from(directory),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("open", path)(errno.into())),
        };
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&directory, operation)) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(Error::io("lock", path)(errno.into())),
        }
        // Whoever removed the container while we waited took the name of its directory away.
        Ok(path.exists().then_some(Claim(directory)))
    }
}

/// Records a new container. Its image and its chain must still be there.
pub(crate) fn insert(db: &Transaction<'_>, record: &ContainerRecord) -> Result<()> {
    let there = db
        .query_row("SELECT 1 FROM images WHERE id = ?1", [record.image_id.as_str()], |_| Ok(()))
        .optional()
        .map_err(Error::database("look up an image"))?;
    if there.is_none() {
        return Err(Error::refused(
            Kind::NotFound,
            format!("image `{}` was removed meanwhile", record.image_id.short()),
        ));
    }
    check_free(db, &record.name)?;
    let chain = ChainId::of(&record.diff_ids).map(|chain| chain.to_string());
    db.execute(
        "INSERT INTO containers (id, name, image, driver, chain_id, created, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![record.id, record.name, record.image_id.as_str(), record.driver, chain, record.created, to_json(record)?],
    )
    .map(drop)
    .map_err(Error::database("record a container"))
}

/// Gives a container another name.
pub(crate) fn rename(db: &Transaction<'_>, id: &str, name: &str) -> Result<()> {
    let mut record = find(db, id)?;
    if record.name == name {
        return Err(Error::refused(Kind::InvalidInput, format!("renaming container `{name}` to its own name")));
    }
    check_free(db, name)?;
    name.clone_into(&mut record.name);
    db.execute("UPDATE containers SET name = ?2, record = ?3 WHERE id = ?1", params![id, name, to_json(&record)?])
        .map(drop)
        .map_err(Error::database("rename a container"))
}

/// Records what has changed of a container but its name and its driver.
pub(crate) fn replace(db: &Transaction<'_>, record: &ContainerRecord) -> Result<()> {
    db.execute("UPDATE containers SET record = ?2 WHERE id = ?1", params![record.id, to_json(record)?])
        .map(drop)
        .map_err(Error::database("update a container"))
}

/// Changes what a container was asked to be.
pub(crate) fn update(db: &Transaction<'_>, id: &str, change: impl Fn(&mut ContainerRecord)) -> Result<()> {
    let mut record = find(db, id)?;
    change(&mut record);
    db.execute("UPDATE containers SET record = ?2 WHERE id = ?1", params![id, to_json(&record)?])
        .map(drop)
        .map_err(Error::database("change a container"))
}

/// States that a container's writable tree is another driver's now, over the same layers.
pub(crate) fn set_driver(db: &Transaction<'_>, id: &str, driver: &str) -> Result<()> {
    let mut record = find(db, id)?;
    driver.clone_into(&mut record.driver);
    db.execute("UPDATE containers SET driver = ?2, record = ?3 WHERE id = ?1", params![id, driver, to_json(&record)?])
        .map(drop)
        .map_err(Error::database("move a container"))
}

/// Forgets a container; false when nobody knew it.
pub(crate) fn delete(db: &Transaction<'_>, id: &str) -> Result<bool> {
    db.execute("DELETE FROM containers WHERE id = ?1", [id])
        .map(|rows| rows > 0)
        .map_err(Error::database("remove a container"))
}

/// Finds a container by its ID, its name, or the beginning of its ID.
pub(crate) fn find(db: &Connection, text: &str) -> Result<ContainerRecord> {
    let text = text.strip_prefix('/').unwrap_or(text);
    if let Some(found) = first(db, "SELECT record FROM containers WHERE id = ?1", text)? {
        return Ok(found);
    }
    if let Some(found) = first(db, "SELECT record FROM containers WHERE name = ?1", text)? {
        return Ok(found);
    }
    if text.is_empty() || text.len() >= 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(no_such(text));
    }
    // `g` comes after every hexadecimal digit.
    let sql = "SELECT record FROM containers WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2";
    let mut found = collect(db, sql, [text], record)?;
    match found.len() {
        0 => Err(no_such(text)),
        1 => from_json(&found.remove(0)),
        _ => Err(Error::refused(Kind::InvalidInput, format!("multiple containers found with the prefix `{text}`"))
            .with_hint("give more digits of the ID, or the name")),
    }
}

/// All containers, newest first.
pub(crate) fn all(db: &Connection) -> Result<Vec<ContainerRecord>> {
    parallel::map(&rows(db)?, Unread::record).into_iter().collect()
}

/// A container's row, whose record nobody has read yet: reading a thousand of them needs no database.
pub(crate) struct Unread {
    pub(crate) created: String,
    pub(crate) id: String,
    record: String,
}

impl Unread {
    /// What the row says.
    pub(crate) fn record(&self) -> Result<ContainerRecord> {
        from_json(&self.record)
    }
}

/// All rows, newest first.
pub(crate) fn rows(db: &Connection) -> Result<Vec<Unread>> {
    let read = |row: &Row<'_>| Ok(Unread { created: row.get(0)?, id: row.get(1)?, record: row.get(2)? });
    // Sorted here and not in SQL, which would carry the records through its sorter.
    let mut rows = collect(db, "SELECT created, id, record FROM containers", [], read)?;
    rows.sort_unstable_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(rows)
}

/// What a container holds of the store, without the rest of its record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Holding {
    pub(crate) id: String,
    /// The driver of its writable tree.
    pub(crate) driver: String,
    pub(crate) volumes: Vec<HeldVolume>,
}

/// A volume that a container mounts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct HeldVolume {
    pub(crate) name: String,
}

/// What all containers hold, in no order.
pub(crate) fn holdings(db: &Connection) -> Result<Vec<Holding>> {
    let rows = collect(db, "SELECT record FROM containers", [], record)?;
    parallel::map(&rows, |text| from_json(text)).into_iter().collect()
}

/// The IDs of containers that mount a volume.
pub(crate) fn users_of_volume(db: &Connection, name: &str) -> Result<Vec<String>> {
    // A record is JSON, in which a name of a volume stands as it is. Most records have no such word and need no reading.
    let word = format!("\"{name}\"");
    let found = collect(db, "SELECT record FROM containers WHERE instr(record, ?1) ORDER BY id", [word], record)?;
    let holdings = found.iter().map(|text| from_json::<Holding>(text)).collect::<Result<Vec<_>>>()?;
    let uses = |holding: &Holding| holding.volumes.iter().any(|volume| volume.name == name);
    Ok(holdings.into_iter().filter(uses).map(|holding| holding.id).collect())
}

/// The IDs of containers that have an image mounted somewhere, beside those that were made of it.
pub(crate) fn users_of_mounted_image(db: &Connection, image: &mica_layer::Digest) -> Result<Vec<String>> {
    let word = format!("\"{image}\"");
    let found = collect(db, "SELECT record FROM containers WHERE instr(record, ?1) ORDER BY id", [word], record)?;
    let records = found.iter().map(|text| from_json::<ContainerRecord>(text)).collect::<Result<Vec<_>>>()?;
    Ok(records.into_iter().filter(|record| record.mounts_image(image)).map(|record| record.id).collect())
}

/// Removes a directory that nobody has a row for, with what is in it.
pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    match fs_err::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

fn check_free(db: &Connection, name: &str) -> Result<()> {
    names::check(name)?;
    let owner: Option<String> = db
        .query_row("SELECT id FROM containers WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map_err(Error::database("look up a container"))?;
    match owner {
        None => Ok(()),
        Some(owner) => Err(Error::refused(
            Kind::AlreadyExists,
            format!("the container name `{name}` is already in use by container `{owner}`"),
        )
        .with_hint("remove or rename that container to use the name again")),
    }
}

fn first(db: &Connection, sql: &str, key: &str) -> Result<Option<ContainerRecord>> {
    collect(db, sql, [key], record)?.first().map(|text| from_json(text)).transpose()
}

fn record(row: &Row<'_>) -> rusqlite::Result<String> {
    row.get(0)
}

/// What nobody asked for is left out: listings read a thousand records, and three quarters of each would be defaults. So
/// whoever changes a default of [`ContainerSpec`] writes the old one into the records that are there.
fn to_json(record: &ContainerRecord) -> Result<String> {
    let fail = |error: serde_json::Error| Error::refused(Kind::Internal, error.to_string());
    let defaults = serde_json::to_value(ContainerSpec::default()).map_err(fail)?;
    let mut value = serde_json::to_value(record).map_err(fail)?;
    if let (Some(spec), Some(defaults)) = (value["spec"].as_object_mut(), defaults.as_object()) {
        spec.retain(|field, asked| defaults.get(field) != Some(asked));
    }
    Ok(value.to_string())
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::refused(Kind::Corrupt, format!("the record of a container cannot be read: {error}")))
}

fn no_such(text: &str) -> Error {
    let shown: String = text.chars().take(255).flat_map(char::escape_debug).collect();
    Error::refused(Kind::NotFound, format!("no such container: `{shown}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::Flush;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root"), &dir.path().join("run"), crate::Durability::None).unwrap();
        store
            .write(Flush::Later, |db| {
                let digest = mica_layer::Digest::sha256_of(b"i");
                crate::store::images::insert_blob(db, &digest, 1)?;
                db.execute("INSERT INTO images (id, size, labels, added) VALUES (?1, 0, '{}', 0)", [digest.as_str()])
                    .unwrap();
                Ok(())
            })
            .unwrap();
        (dir, store)
    }

    fn sample(id: &str, name: &str) -> ContainerRecord {
        ContainerRecord {
            id: id.repeat(64 / id.len()),
            name: name.into(),
            created: "2026-01-01T00:00:00Z".into(),
            image_id: mica_layer::Digest::sha256_of(b"i"),
            image_name: "i".into(),
            driver: "overlay".into(),
            diff_ids: vec![],
            config: Default::default(),
            spec: Default::default(),
            volumes: vec![],
            ids: None,
        }
    }

    #[test]
    fn containers_are_found_by_id_name_and_prefix() {
        let (_dir, store) = store();
        for record in [sample("ab", "web"), sample("ac", "deadbeef"), sample("de", "x1")] {
            store.write(Flush::Later, |db| insert(db, &record)).unwrap();
        }
        for (text, name) in [
            ("ab", "web"),
            ("web", "web"),
            ("/web", "web"),
            (&"ac".repeat(32), "deadbeef"),
            ("deadbeef", "deadbeef"),
            ("d", "x1"),
        ] {
            assert_eq!(store.find_container(text).unwrap().name, name, "{text}");
        }
        assert_eq!(store.find_container("a").unwrap_err().kind(), Kind::InvalidInput);
        for text in ["", "nope", "f", "' OR 1=1 --", "a%"] {
            assert_eq!(store.find_container(text).unwrap_err().kind(), Kind::NotFound, "{text}");
        }
    }

    #[test]
    fn names_are_given_once() {
        let (_dir, store) = store();
        store.write(Flush::Later, |db| insert(db, &sample("ab", "web"))).unwrap();
        let error = store.write(Flush::Later, |db| insert(db, &sample("cd", "web"))).unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists);
        assert!(error.to_string().contains(&"ab".repeat(32)));
        store.write(Flush::Later, |db| insert(db, &sample("cd", "other"))).unwrap();
        let id = "cd".repeat(32);
        assert_eq!(store.write(Flush::Later, |db| rename(db, &id, "web")).unwrap_err().kind(), Kind::AlreadyExists);
        store.write(Flush::Later, |db| rename(db, &id, "third")).unwrap();
        assert_eq!(store.find_container("third").unwrap().id, id);
        assert!(store.write(Flush::Later, |db| delete(db, &id)).unwrap());
        assert!(!store.write(Flush::Later, |db| delete(db, &id)).unwrap());
    }

    #[test]
    fn a_container_whose_image_went_is_refused() {
        let (_dir, store) = store();
        let record = ContainerRecord { image_id: mica_layer::Digest::sha256_of(b"gone"), ..sample("ab", "web") };
        assert_eq!(store.write(Flush::Later, |db| insert(db, &record)).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn one_claim_at_a_time() {
        let (_dir, store) = store();
        store.create_directories("ab").unwrap();
        let claim = store.claim("ab").unwrap();
        assert!(store.try_claim("ab").unwrap().is_none());
        drop(claim);
        assert!(store.try_claim("ab").unwrap().is_some());
        assert!(store.try_claim("cd").unwrap().is_none());
        assert_eq!(store.claim("cd").unwrap_err().kind(), Kind::NotFound);
    }
}
