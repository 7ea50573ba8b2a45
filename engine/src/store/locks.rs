//! Locks by name: an flock on `locks/<family>-<name>`. The kernel drops them with their owner, so none is ever stale.
//!
//! | family | shared | exclusive |
//! |---|---|---|
//! | `layer` (diff ID) | relies on the layer's row and blob | makes them |
//! | `object` (driver, key) | relies on the driver's directory | makes it |
//! | `chain` (driver, chain ID) | a mount needs it | – |
//! | `stage` (driver, stage ID) | – | fills it |
//! | `document` (digest) | relies on a config's or manifest's blob | – |
//! | `reap` (driver) | – | empties the driver's trash |
//! | `recovery` | – | looks at what the last boot left |
//! | `ids` | – | chooses ids for a container |
//!
//! Deadlock cannot happen: whoever waits takes `layer` before `object` locks, each in the order of names, and `chain` locks are
//! waited for by nobody: who removes only tries. A file is removed only by who holds it exclusively, and who gets a lock
//! on a file that has lost its name tries again.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use mica_layer::{ChainId, DiffId, Digest};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, unlink};
use rustix::io::Errno;

use super::Store;
use crate::{Error, Result};

/// What a lock stands for. The order is the order in which locks are taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LockName {
    /// A layer's row and blob.
    Layer(DiffId),
    /// A driver's directory.
    Object(String, String),
    /// A chain that mounts use.
    Chain(String, ChainId),
    /// A driver's stage.
    Stage(String, String),
    /// A config's or manifest's blob.
    Document(Digest),
    /// A driver's trash.
    Reap(String),
    /// What the last boot left.
    Recovery,
    /// The ids of containers' user namespaces.
    Ids,
}

impl LockName {
    fn file_name(&self) -> String {
        match self {
            Self::Layer(diff_id) => format!("layer-{}", diff_id.0.hex()),
            Self::Object(driver, key) => format!("object-{driver}-{key}"),
            Self::Chain(driver, chain_id) => format!("chain-{driver}-{}", chain_id.0.hex()),
            Self::Stage(driver, id) => format!("stage-{driver}-{id}"),
            Self::Document(digest) => format!("document-{}", digest.hex()),
            Self::Reap(driver) => format!("reap-{driver}"),
            Self::Recovery => "recovery".to_owned(),
            Self::Ids => "ids".to_owned(),
        }
    }
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    tidy: bool,
    // `None` on a read-only file system, where nobody removes anything.
    file: Option<OwnedFd>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The last one out takes the name away. Nobody else can hold the lock then, and whoever waits for it sees that the
        // file has lost its name.
        let Some(file) = self.file.as_ref().filter(|_| self.tidy) else { return };
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = unlink(&self.path);
        }
    }
}

impl Store {
    /// Waits until nobody makes or removes the thing, and keeps it so.
    pub(crate) fn lock_shared(&self, name: &LockName) -> Result<Lock> {
        let lock = self.lock(name, FlockOperation::LockShared)?;
        Ok(lock.expect("only a lock that is not waited for can be missing"))
    }

    /// Waits until nobody uses, makes or removes the thing, and keeps it so.
    pub(crate) fn lock_exclusive(&self, name: &LockName) -> Result<Lock> {
        let lock = self.lock(name, FlockOperation::LockExclusive)?;
        Ok(lock.expect("only a lock that is not waited for can be missing"))
    }

    /// Takes the thing for itself if nobody uses, makes or removes it.
    pub(crate) fn try_lock(&self, name: &LockName) -> Result<Option<Lock>> {
        self.lock(name, FlockOperation::NonBlockingLockExclusive)
    }

    /// True when the lock's file is there. For a lock that is never shared that means: somebody holds it, or was killed.
    pub(crate) fn has_lock_file(&self, name: &LockName) -> bool {
        self.root().join("locks").join(name.file_name()).exists()
    }

    /// Takes away the files of locks that nobody holds: those of owners that were killed.
    pub(crate) fn tidy_locks(&self) -> Result<()> {
        let directory = self.root().join("locks");
        for entry in fs_err::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let path = entry.map_err(Error::io("list", &directory))?.path();
            let Ok(file) = open(&path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) else {
                continue;
            };
            // With the lock held and the name still leading to it, nobody else can have it.
            let free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if free && fstat(&file).is_ok_and(|found| found.st_nlink > 0) {
                let _ = unlink(&path);
            }
        }
        Ok(())
    }

    fn lock(&self, name: &LockName, operation: FlockOperation) -> Result<Option<Lock>> {
        let path = self.root().join("locks").join(name.file_name());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let fail = |errno: Errno| Error::io("lock", &path)(errno.into());
            let file = match open(&path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file,
                Err(Errno::ROFS) if operation == FlockOperation::LockShared => {
                    return Ok(Some(Lock { path, tidy: false, file: None }));
                }
                Err(errno) => return Err(fail(errno)),
            };
            match flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if operation == FlockOperation::NonBlockingLockExclusive => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(fail(errno)),
            }
            if fstat(&file).map_err(fail)?.st_nlink > 0 {
                // Every start of a container takes its chain's lock, so that file stays until the chain goes.
                let tidy = operation != FlockOperation::LockShared || !matches!(name, LockName::Chain(..));
                return Ok(Some(Lock { path, tidy, file: Some(file) }));
            }
        }
    }
}
