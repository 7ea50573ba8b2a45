//! A stage of a driver: where the engine writes, until it commits or drops it.
#![expect(unsafe_code, reason = "calls the plugin's functions")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use mica_storage_api::abi::{self, StagePtr};
use mica_storage_api::{Key, StageArgs, StageKind, Whiteout};

use crate::call::{self, Lent, broken};
use crate::driver::{Driver, verb};
use crate::error::Result;

/// Something being written. Dropping it aborts it.
pub struct Stage {
    driver: Driver,
    raw: Option<NonNull<StagePtr>>,
    place: Option<Place>,
}

struct Place {
    target: OwnedFd,
    merged: Option<OwnedFd>,
    whiteout: Whiteout,
}

// SAFETY: by the contract a stage may move between threads; it is not Sync.
unsafe impl Send for Stage {}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("driver", &self.driver.name()).finish_non_exhaustive()
    }
}

impl Stage {
    pub(crate) fn begin(driver: &Driver, args: &StageArgs<'_>) -> Result<Self> {
        let parents = Lent::keys(args.parents);
        let (kind, flags) = match args.kind {
            StageKind::Layer => (abi::STAGE_LAYER, 0),
            StageKind::Rw => (abi::STAGE_RW, 0),
            StageKind::Promote => (abi::STAGE_LAYER, abi::STAGE_PROMOTE),
        };
        let raw = abi::StageArgs {
            size: size_of::<abi::StageArgs>() as u32,
            kind,
            call_id: args.call_id,
            id: call::key(args.id),
            parents: parents.list(),
            root_mode: args.root_mode,
            root_uid: args.root_uid,
            root_gid: args.root_gid,
            flags,
            quota_bytes: args.quota_bytes,
            quota_inodes: args.quota_inodes,
        };
        let mut stage = std::ptr::null_mut();
        let mut out = abi::StageOut {
            size: size_of::<abi::StageOut>() as u32,
            whiteout: u32::MAX,
            target_dirfd: -1,
            merged_dirfd: -1,
        };
        // SAFETY: a function of the checked table, an open driver, and pointers to values that outlive the call.
        driver.call("stage_begin", |err| unsafe {
            verb(driver.vt().stage_begin)(driver.raw(), &raw, &mut stage, &mut out, err)
        })?;
        let broken = |how| broken(driver.name(), "stage_begin", how);
        let raw = NonNull::new(stage).ok_or_else(|| broken("returned success without a stage".to_owned()))?;
        // From here on an early return aborts the stage.
        let mut stage = Self { driver: driver.clone(), raw: Some(raw), place: None };
        stage.place = Some(Place::from_raw(&out).map_err(broken)?);
        Ok(stage)
    }

    /// The directory to write into.
    pub fn target(&self) -> BorrowedFd<'_> {
        self.place().target.as_fd()
    }

    /// A read-only view of the parents, where the target does not show them.
    pub fn merged(&self) -> Option<BorrowedFd<'_>> {
        self.place().merged.as_ref().map(AsFd::as_fd)
    }

    /// How a deletion is written into the target.
    pub fn whiteout(&self) -> Whiteout {
        self.place().whiteout
    }

    /// Makes the content durable; a `Fallback` error where the engine's own syncfs does it.
    pub fn sync(&mut self) -> Result<()> {
        let (driver, raw) = (&self.driver, self.raw_ptr());
        match driver.vt().stage_sync {
            // SAFETY: a function of the checked table and a live stage.
            Some(sync) => driver.call("stage_sync", |err| unsafe { sync(raw, err) }),
            None => Err(call::failed(driver.name(), "stage_sync", mica_storage_api::Error::fallback())),
        }
    }

    /// Publishes under `key`; yields the bytes it occupies, 0 when the driver does not know. An error of kind `Exists` says
    /// that somebody else published the key first. The stage is gone either way.
    pub fn commit(mut self, key: Key<'_>) -> Result<u64> {
        // The engine's own descriptors go first: a driver may want to seal or rename what they lead to.
        self.place = None;
        let raw = self.raw_ptr();
        self.raw = None;
        let mut bytes = 0;
        let driver = &self.driver;
        // SAFETY: a function of the checked table and a live stage, which is given up.
        driver.call("stage_commit", |err| unsafe {
            verb(driver.vt().stage_commit)(raw, call::key(key), &mut bytes, err)
        })?;
        Ok(bytes)
    }

    /// Discards it.
    pub fn abort(self) {
        drop(self);
    }

    fn place(&self) -> &Place {
        self.place.as_ref().expect("only `begin` and `commit` hold a stage without its place, and they end with it")
    }

    fn raw_ptr(&self) -> *mut StagePtr {
        self.raw.expect("only `commit` takes the pointer, and it ends the stage").as_ptr()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.place = None;
        if let Some(raw) = self.raw.take() {
            // SAFETY: a function of the checked table and a live stage, which is given up.
            unsafe { verb(self.driver.vt().stage_abort)(raw.as_ptr()) }
        }
    }
}

impl Place {
    fn from_raw(out: &abi::StageOut) -> std::result::Result<Self, String> {
        let whiteout = Whiteout::from_code(out.whiteout)
            .ok_or_else(|| format!("returned the unknown whiteout style {}", out.whiteout))?;
        if out.target_dirfd < 0 {
            return Err("offers no directory to write into".to_owned());
        }
        let target = call::take_fd(out.target_dirfd, call::is_directory)?;
        let merged = match out.merged_dirfd {
            -1 => None,
            fd if fd == out.target_dirfd => return Err(format!("returned descriptor {fd} twice")),
            fd => Some(call::take_fd(fd, call::is_directory)?),
        };
        Ok(Self { target, merged, whiteout })
    }
}
