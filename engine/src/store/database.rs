//! The one SQLite connection of a process, tuned for many short-lived processes on one database.
//!
//! Two defaults of SQLite are wrong for commands that live for milliseconds: the last connection to close would
//! checkpoint and unlink the log, which costs ten times the write itself. So the log persists, and nobody checkpoints on
//! close. Writers queue on an flock first, because waiting for SQLite's own lock is polling.

use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, FileControl, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

use super::schema;
use crate::{Durability, Error, Kind, Result};

/// How long a writer waits for others: 64 processes that each hold the lock for a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the log grows before it is written back. The first process to open the database reads the log from its
/// beginning, and here nearly every process is the first: SQLite's 1000 pages would cost each of them two milliseconds.
const LOG_PAGES: i64 = 128;

/// KiB of pages that a connection keeps. SQLite's 2,000 are less than sums over 5,000 layers go through, so that half of the
/// pages were read twice.
const CACHE_KIB: i64 = 16_384;

/// How large the log may get. A checkpoint starts it again from the front only when nobody reads from it, and on a busy store
/// somebody always does; beyond this size the writer waits a moment for the readers instead.
const LOG_MAX: u64 = 4 << 20;

/// That moment. Reads take milliseconds, so it is seldom used up; whoever is not done by then is waited for by a later writer.
const LOG_PATIENCE: Duration = Duration::from_millis(100);

/// When a transaction is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Some time later; a power cut may undo it, in order.
    Later,
    /// When the call returns: for what is acknowledged to a person, and before bytes are deleted.
    Now,
}

/// The metadata database.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Mutex<Connection>,
    /// `None` on a read-only file system.
    writer_lock: Option<std::fs::File>,
    log: std::path::PathBuf,
    durability: Durability,
}

impl Database {
    /// Opens the database in `directory`, creating it when it does not exist.
    pub(crate) fn open(directory: &Path, durability: Durability) -> Result<Database> {
        let fail = Error::database("open the database");
        let lock_path = directory.join("writer.lock");
        let writer_lock =
            std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let writer_lock = match writer_lock {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => None,
            Err(error) => return Err(Error::io("open", lock_path)(error)),
        };
        let access = match writer_lock {
            Some(_) => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            None => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(directory.join("meta.sqlite"), flags)
            .and_then(|connection| tune(&connection).map(|()| connection))
            .map_err(fail)?;
        let log = directory.join("meta.sqlite-wal");
        let database = Database { connection: Mutex::new(connection), writer_lock, log, durability };
        database.prepare_schema(directory)?;
        Ok(database)
    }

    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.connection();
        // One transaction, so that several statements see one state of the store.
        let transaction = connection.unchecked_transaction().map_err(Error::database("begin"))?;
        work(&transaction)
    }

    pub(crate) fn write<T>(&self, flush: Flush, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let _queue = self.queue()?;
        let full = flush == Flush::Now && self.durability == Durability::Full;
        set_synchronous(&connection, if full { "FULL" } else { "NORMAL" })?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::database("begin"))?;
        let result = work(&transaction)?;
        transaction.commit().map_err(Error::database("commit"))?;
        self.bound_log(&connection);
        Ok(result)
    }

    /// Cuts the log when it has grown too long. The transaction is committed already, so nothing here fails it.
    fn bound_log(&self, connection: &Connection) {
        if fs_err::metadata(&self.log).map_or(0, |found| found.len()) <= LOG_MAX {
            return;
        }
        let cut = connection
            .busy_timeout(LOG_PATIENCE)
            .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        let restored = connection.busy_timeout(PATIENCE);
        if let Err(error) = cut.and(restored) {
            tracing::debug!(%error, "the database's log is left to a later writer");
        }
    }

    pub(crate) fn compact(&self) -> Result<()> {
        let connection = self.connection();
        let _queue = self.queue()?;
        set_synchronous(&connection, "NORMAL")?;
        let run = |statement: &str| -> rusqlite::Result<()> {
            let mut statement = connection.prepare(statement)?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        // A reader in another process may keep part of the log busy; then the next one does it.
        run("PRAGMA incremental_vacuum")
            .and_then(|()| run("PRAGMA wal_checkpoint(TRUNCATE)"))
            .map_err(Error::database("compact"))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic between two statements leaves an open transaction, which rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when the store lies on a file system that cannot be written.
    pub(crate) fn is_read_only(&self) -> bool {
        self.writer_lock.is_none()
    }

    fn queue(&self) -> Result<Queue<'_>> {
        let Some(writer_lock) = &self.writer_lock else {
            return Err(Error::io("write to", "db/meta.sqlite")(rustix::io::Errno::ROFS.into()));
        };
        loop {
            match flock(writer_lock, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Queue(writer_lock)),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("lock", "db/writer.lock")(errno.into())),
            }
        }
    }

    fn prepare_schema(&self, directory: &Path) -> Result<()> {
        let version = |connection: &Connection| {
            connection
                .query_row("PRAGMA user_version", [], |row| row.get::<_, i32>(0))
                .map_err(Error::database("read the schema version"))
        };
        let found = version(&self.connection())?;
        match found {
            schema::VERSION => Ok(()),
            0..schema::VERSION => {
                let mut connection = self.connection();
                let _queue = self.queue()?;
                let found = version(&connection)?;
                if found >= schema::VERSION {
                    return Ok(());
                }
                let fail = || Error::database("prepare the database");
                if found == 0 {
                    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(fail())?;
                    let mode = if shares_memory(directory) { "WAL" } else { "DELETE" };
                    connection.pragma_update(None, "journal_mode", mode).map_err(fail())?;
                }
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail())?;
                schema::migrate(&transaction, found).and_then(|()| transaction.commit()).map_err(fail())
            }
            newer => Err(Error::refused(
                Kind::Unsupported,
                format!(
                    "the database in `{}` has version {newer}, and this version of mica knows {}",
                    directory.display(),
                    schema::VERSION
                ),
            )
            .with_hint("use the newer mica that wrote it, or name another store with `--root`")),
        }
    }
}

/// The place at the head of the queue of writers.
struct Queue<'a>(&'a std::fs::File);

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0.as_fd(), FlockOperation::Unlock);
    }
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let mut persist = 1;
    connection.file_control(None::<&str>, FileControl::PersistWal(&mut persist))
}

fn set_synchronous(connection: &Connection, level: &str) -> Result<()> {
    connection.pragma_update(None, "synchronous", level).map_err(Error::database("set durability"))
}

/// False on network file systems, where the log's shared memory would not be shared between machines.
fn shares_memory(directory: &Path) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: [i64; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];
    const NINE_P: i64 = 0x0102_1997;
    let Ok(found) = rustix::fs::statfs(directory) else { return true };
    let kind = found.f_type & 0xffff_ffff;
    let remote = kind == NFS || kind == NINE_P || SMB.contains(&kind);
    if remote {
        tracing::warn!(directory = %directory.display(), "the store is on a network file system: commands will queue");
    }
    !remote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_stays_bounded_while_others_read() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Database::open(dir.path(), Durability::None).unwrap();
        let writer = open();
        let read = |database: &Database, pause: Duration| {
            let count = |db: &Connection| {
                let count = db.query_row("SELECT count(*) FROM volumes", [], |row| row.get::<_, i64>(0));
                std::thread::sleep(pause);
                count.map_err(Error::database("count"))
            };
            database.read(count).unwrap()
        };
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut longest = 0;
        std::thread::scope(|scope| {
            // So many, and each so long, that at no moment nobody reads: then an ordinary checkpoint never starts the log again.
            for _ in 0..4 {
                scope.spawn(|| {
                    let reader = open();
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        read(&reader, Duration::from_millis(3));
                    }
                });
            }
            let record = "x".repeat(20_000);
            for round in 0..2_000 {
                let write = |db: &Transaction<'_>| {
                    db.execute(
                        "INSERT OR REPLACE INTO volumes (name, created, record) VALUES (?1, '', ?2)",
                        rusqlite::params![format!("v{}", round % 10), record],
                    )
                    .map_err(Error::database("write"))
                };
                writer.write(Flush::Later, write).unwrap();
                longest = longest.max(fs_err::metadata(dir.path().join("meta.sqlite-wal")).unwrap().len());
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(read(&writer, Duration::ZERO), 10);
        assert!(longest < 2 * LOG_MAX, "the log grew to {longest} bytes");
    }
}
