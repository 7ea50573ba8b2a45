//! The two traits a driver author writes. `docs/plugin-abi.md` walks through whole life cycles.
//!
//! Concurrency: any thread, any process, the same key at once. The engine guarantees that every parent named in a call
//! stays in place for the call (for an rw object: for its life) and that an rw object has one mounter. A driver locks
//! through [`Host::lock`] only, never store-wide and never across calls. It starts no threads or processes and does not
//! touch umask, working directory, environment or signal handlers: the engine has set `umask(0)`.

use std::ffi::{CStr, c_void};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::args::{Change, CheckLevel, Flow, Left, MountArgs, ObjectKind, OpenArgs, StageArgs, Usage};
use crate::caps::{Info, Whiteout};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::key::Key;

/// One mechanism for keeping layers and writable trees.
pub trait StorageDriver: Send + Sync + Sized + 'static {
    /// The driver's name, `[a-z0-9_-]{1,32}`: the `<name>` of `libmica_storage_<name>.so`.
    const NAME: &'static CStr;

    /// The options `open` takes, one a line: `key=values  what it does`.
    const OPTIONS: &'static CStr = c"";

    /// A stage of this driver. It outlives the borrow of the driver, so share what it needs.
    type Stage: Stage;

    /// Looks at the real root and says what works there. Writes nothing but fixed subdirectories; under a millisecond.
    ///
    /// Three refusals are kept apart from failures: `NotSupported` (kernel), `Prerequisite` (something an administrator
    /// can supply), `IncompatibleFs`.
    fn open(host: Host, args: &OpenArgs<'_>) -> Result<(Self, Info)>;

    /// Makes a private place to write into. Nothing in it exists for anyone else until [`Stage::commit`].
    ///
    /// A stage whose id exists already is `Exists`: after a crash the engine removes the remains by
    /// `remove(ObjectKind::Stage, id)` before it uses the name again.
    fn stage_begin(&self, args: &StageArgs<'_>) -> Result<Self::Stage>;

    /// A detached mount of an rw object, or a read-only view of a chain (of no parents: an empty directory). Nothing is
    /// attached anywhere. What the driver cannot honour, an option, a label or an id map, is an error and never dropped.
    fn mount(&self, args: &MountArgs<'_>) -> Result<OwnedFd>;

    /// Yields what an rw object changed, in lexical order of the paths. `Fallback`: the engine walks both trees.
    fn changes(
        &self,
        rw_id: Key<'_>,
        parents: &[Key<'_>],
        yield_change: &mut dyn FnMut(&Change<'_>) -> Flow,
    ) -> Result<()> {
        let _ = (rw_id, parents, yield_change);
        Err(Error::fallback())
    }

    /// What an object occupies by itself. `Fallback`: the engine walks it.
    fn usage(&self, kind: ObjectKind, id: Key<'_>) -> Result<Usage> {
        let _ = (kind, id);
        Err(Error::fallback())
    }

    /// Takes the object out of sight in O(1): a rename into the trash. A missing object is success, so the call repeats.
    fn remove(&self, kind: ObjectKind, id: Key<'_>) -> Result<()>;

    /// Frees what lies in the trash for about `budget`. May be killed at any time and run by several processes.
    fn reap(&self, budget: Duration) -> Result<Left>;

    /// Yields every object, stages included, in any order. Names only, no stat: recovery compares them with its rows.
    fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()>;

    /// `NotFound` when the object is missing, `Corrupt` when it is damaged.
    fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        let _ = (kind, id, level);
        Ok(())
    }

    /// A driver specific extension table, as in COM or Vulkan; null when unknown. Valid until the driver is closed.
    fn interface(&self, iid: &str) -> *const c_void {
        let _ = iid;
        std::ptr::null()
    }
}

/// Where the engine writes the content of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The root of the tree.
    pub dir: BorrowedFd<'a>,
    /// A read-only view of the parents, where `dir` does not show them.
    pub merged: Option<BorrowedFd<'a>>,
    /// How a deletion is written into `dir`.
    pub whiteout: Whiteout,
}

/// Something being written. Dropping it without a commit discards it, and must not panic.
pub trait Stage: Send + Sized + 'static {
    /// Where to write.
    fn target(&self) -> Target<'_>;

    /// Makes the content durable. `Fallback`: the engine does one syncfs for all stages of a pull.
    fn sync(&mut self) -> Result<()> {
        Err(Error::fallback())
    }

    /// Publishes under `key` in one step and yields the bytes the object occupies, 0 when that would take a walk.
    ///
    /// `Exists`: somebody else published the key first, and the stage is discarded. Any other error discards it too, except
    /// that a promoted rw object stays what it was. Does not fsync.
    fn commit(self, key: Key<'_>) -> Result<u64>;

    /// Discards it.
    fn abort(self) {
        drop(self);
    }
}
