//! The store: one directory, one database, blobs by digest, locks. Any number of processes open it at once.
//!
//! ```text
//! <root>/ (0700)
//!   store.json                     format version and identity
//!   db/meta.sqlite, db/writer.lock rows
//!   content/blobs/sha256/<hex>     bytes by digest; content/ingest/<id> bytes on their way there
//!   drivers/<name>/                belongs to that driver alone
//!   containers/<id>/               logs and records that survive a reboot
//!   volumes/<name>/_data
//!   locks/<family>-<name>          empty; only the flock on one counts, never its existence
//! ```
//!
//! The crash protocol: bytes first, row last; what is transient is held by an flock, so a dead owner's left-overs are
//! recognised without guessing; a transaction holds no I/O but SQL; rows go before the bytes they name.

pub mod build_cache;
pub(crate) mod container_state;
pub(crate) mod containers;
pub mod content;
pub(crate) mod database;
pub(crate) mod figures;
pub mod images;
pub(crate) mod layers;
pub(crate) mod lists;
pub(crate) mod locks;
pub(crate) mod manifests;
pub(crate) mod names;
pub(crate) mod networks;
pub(crate) mod preference;
mod release;
pub(crate) mod remote;
mod reserve;
mod schema;
pub(crate) mod sweep;
pub(crate) mod uploads;
pub(crate) mod volumes;

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction};
use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result};
use database::Database;
pub use database::Flush;

/// The on-disk format this program writes.
const FORMAT: u32 = 1;

/// `store.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    /// Rises when an older program could not read the store.
    format: u32,
    /// Tells stores apart that share a run root.
    uuid: String,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    run_root: PathBuf,
    identity: Identity,
    database: Database,
}

impl Store {
    /// Opens the store at `root`, creating it when it does not exist.
    pub(crate) fn open(root: &Path, run_root: &Path, fsync: crate::Durability) -> Result<Store> {
        let identity = match read_identity(root)? {
            Some(identity) => identity,
            None => create(root)?,
        };
        if identity.format > FORMAT {
            return Err(Error::refused(
                Kind::Unsupported,
                format!(
                    "store `{}` has format {}, and this version of mica knows formats up to {FORMAT}",
                    root.display(),
                    identity.format
                ),
            )
            .with_hint("use the newer mica that wrote it, or name another store with `--root`"));
        }
        // What adapters may keep between commands, for example compiled system call filters.
        private_directory(&run_root.join("cache"))?;
        let database = Database::open(&root.join("db"), fsync)?;
        Ok(Store { root: root.to_owned(), run_root: run_root.to_owned(), identity, database })
    }

    /// The driver that a store at `root` uses when nobody names one. Neither makes a store nor loads a driver.
    pub fn usual_driver(root: &Path) -> Result<Option<String>> {
        if read_identity(root)?.is_none() {
            return Ok(None);
        }
        Database::open(&root.join("db"), crate::Durability::Full)?.read(preference::driver)
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where hot state is.
    pub fn run_root(&self) -> &Path {
        &self.run_root
    }

    /// The store's identity.
    pub fn id(&self) -> &str {
        &self.identity.uuid
    }

    /// Reads rows. Never waits for writers.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.read(work)
    }

    /// Changes rows in one transaction, which holds no I/O but SQL. An error rolls it back.
    pub(crate) fn write<T>(&self, flush: Flush, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.database.write(flush, work)
    }

    /// Gives the database's free pages and its log back to the file system.
    pub(crate) fn compact(&self) -> Result<()> {
        self.database.compact()?;
        self.keep_room();
        Ok(())
    }

    /// True when the store lies on a file system that cannot be written.
    pub(crate) fn is_read_only(&self) -> bool {
        self.database.is_read_only()
    }
}

/// Makes a directory and its parents, readable by its owner alone.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create directory", path))
}

/// What a directory holds; nothing when it is missing.
pub(crate) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(Error::io("list", directory))?.file_name().into_string());
    }
    Ok(names)
}

/// A random name for something transient: 128 bits in hexadecimal.
pub(crate) fn fresh_id() -> String {
    // fastrand seeds itself from the clock and the thread's id, which two processes can share; the kernel's pool cannot.
    let mut bytes = [0u8; 16];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) != Ok(bytes.len()) {
        fastrand::fill(&mut bytes);
    }
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

/// This boot of the machine.
pub(crate) fn boot_id() -> Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = fs_err::read_to_string(PATH).map_err(Error::io("read", PATH))?;
    Ok(text.trim_end().to_owned())
}

fn read_identity(root: &Path) -> Result<Option<Identity>> {
    let path = root.join("store.json");
    let text = match std::fs::OpenOptions::new().read(true).open(&path).and_then(std::io::read_to_string) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let identity = serde_json::from_str(&text).map_err(|error| {
        Error::refused(Kind::Corrupt, format!("`{}` is damaged: {error}", path.display()))
            .with_hint("restore the file from a backup, or name another store with `--root`")
    })?;
    Ok(Some(identity))
}

fn create(root: &Path) -> Result<Identity> {
    for directory in ["db", "content/blobs/sha256", "content/ingest", "drivers", "containers", "volumes", "locks"] {
        private_directory(&root.join(directory))?;
    }
    let identity = Identity { format: FORMAT, uuid: fresh_id() };
    let text = serde_json::to_string(&identity).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    let (temporary, mut file) = tempfile_in(root)?;
    let path = root.join("store.json");
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // Linking instead of renaming: of several processes that create a store at once, the first one names it.
    let linked = written.and_then(|()| fs_err::hard_link(&temporary, &path));
    let _ = fs_err::remove_file(&temporary);
    match (linked, read_identity(root)?) {
        (Ok(()), _) => flush_directory(root).map(|()| identity),
        // Another process was faster, and may have swept our file away.
        (Err(_), Some(theirs)) => Ok(theirs),
        (Err(error), None) => Err(Error::io("create", path)(error)),
    }
}

/// Brings the names in a directory to the disk.
fn flush_directory(path: &Path) -> Result<()> {
    fs_err::File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("flush", path))
}

fn tempfile_in(root: &Path) -> Result<(PathBuf, std::fs::File)> {
    let path = root.join(format!("store.json.{}", fresh_id()));
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("create", &path))?;
    // Held until it is linked: who sweeps takes only files whose makers are gone. A sweep that saw it before it was locked
    // takes it too, but who sweeps has a store, and then this one is not needed.
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => Ok((path, file)),
        Err(errno) => Err(Error::io("lock", &path)(errno.into())),
    }
}

impl Store {
    /// Takes away what a process left that died while it created the store.
    pub(crate) fn collect_beginnings(&self) -> Result<()> {
        for entry in fs_err::read_dir(&self.root).map_err(Error::io("list", &self.root))? {
            let path = entry.map_err(Error::io("list", &self.root))?.path();
            let begun = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("store.json."));
            if !begun {
                continue;
            }
            let Ok(file) = fs_err::File::open(&path) else { continue };
            if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = fs_err::remove_file(&path);
            }
        }
        Ok(())
    }
}
