//! Rows of containers, their directories, and how what a person typed becomes one of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use mica_layer::ChainId;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::images::collect;
use super::{Store, names, private_directory};
use crate::container::ContainerRecord;
use crate::{Error, Kind, Result};

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
    collect(db, "SELECT record FROM containers ORDER BY created DESC, id", [], record)?
        .iter()
        .map(|text| from_json(text))
        .collect()
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

fn to_json(record: &ContainerRecord) -> Result<String> {
    serde_json::to_string(record).map_err(|error| Error::refused(Kind::Internal, error.to_string()))
}

fn from_json(text: &str) -> Result<ContainerRecord> {
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
