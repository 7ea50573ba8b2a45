//! A driver's stage with the lock that tells a live one from a dead one's.

use std::time::Duration;

use mica_layer::{Target, Whiteouts};
use mica_storage_api::{Caps, ObjectKind, StageArgs, StageKind, Whiteout};
use mica_storage_loader::{Driver, Stage};

use super::chain::{key, keys};
use super::reap::BUDGET;
use super::rw::usage;
use crate::container::StorageLimits;
use crate::store::fresh_id;
use crate::store::locks::{Lock, LockName};
use crate::{Engine, Error, Result};

/// What an abandoned stage costs whoever abandoned it.
const REAP_BUDGET: Duration = Duration::from_secs(1);

/// Something being written. Dropped without a commit, it is gone; after a crash its free lock gives it away.
#[derive(Debug)]
pub(crate) struct OpenStage {
    engine: Engine,
    driver: Driver,
    // None once it is committed.
    stage: Option<Stage>,
    // None for a promotion, whose bytes belong to a container until the commit.
    _lock: Option<Lock>,
}

impl Drop for OpenStage {
    fn drop(&mut self) {
        if let Some(stage) = self.stage.take() {
            drop(stage);
            // A layer may be large; the reaper takes what does not go at once.
            let _ = self.engine.reap_soon(&self.driver, REAP_BUDGET);
        }
    }
}

impl Engine {
    /// Begins a stage over a chain, keys top first. Blocks.
    pub(crate) fn begin_stage(&self, driver: &Driver, kind: StageKind, parents: &[String]) -> Result<OpenStage> {
        let id = fresh_id();
        let lock = self.store().lock_exclusive(&LockName::Stage(driver.name().to_owned(), id.clone()))?;
        self.begin(driver, (kind, StorageLimits::default()), &id, parents, Some(lock))
    }

    /// Begins a writable tree that can hold no more than its limits. Blocks.
    pub(crate) fn begin_rw(&self, driver: &Driver, parents: &[String], limits: StorageLimits) -> Result<OpenStage> {
        let id = fresh_id();
        let lock = self.store().lock_exclusive(&LockName::Stage(driver.name().to_owned(), id.clone()))?;
        self.begin(driver, (StageKind::Rw, limits), &id, parents, Some(lock))
    }

    /// Begins to turn a writable tree into a layer. Blocks.
    pub(crate) fn begin_promotion(&self, driver: &Driver, rw: &str, parents: &[String]) -> Result<OpenStage> {
        self.begin(driver, (StageKind::Promote, StorageLimits::default()), rw, parents, None)
    }

    fn begin(
        &self,
        driver: &Driver,
        (kind, limits): (StageKind, StorageLimits),
        id: &str,
        parents: &[String],
        lock: Option<Lock>,
    ) -> Result<OpenStage> {
        let parents = keys(parents)?;
        let args = StageArgs {
            quota_bytes: limits.size.unwrap_or(0),
            quota_inodes: limits.inodes.unwrap_or(0),
            ..StageArgs::new(kind, key(id)?, &parents)
        };
        let stage =
            driver.stage_begin(&args).map_err(|source| Error::Storage { operation: "begin a snapshot", source })?;
        Ok(OpenStage { engine: self.clone(), driver: driver.clone(), stage: Some(stage), _lock: lock })
    }
}

impl OpenStage {
    /// Where a layer is applied.
    pub(crate) fn target(&self) -> Target<'_> {
        let stage = self.stage();
        let whiteouts = match stage.whiteout() {
            Whiteout::Direct => Whiteouts::Direct,
            Whiteout::OverlayTrusted => Whiteouts::OverlayTrusted,
            Whiteout::OverlayUser => Whiteouts::OverlayUser,
            Whiteout::OciFiles => Whiteouts::OciFiles,
        };
        Target { root: stage.target(), merged: stage.merged(), whiteouts }
    }

    /// Publishes it as a layer. The caller holds the key's lock and knows that the key has no row, so whatever lies there is
    /// what a dead command left.
    ///
    /// Returns what it occupies. A driver that does not know without a walk is made to walk, while the inodes are still in
    /// memory. Only where layers share bytes would that count them many times; there it is `content`, what was applied.
    pub(crate) fn commit_layer(self, name: &str, content: u64) -> Result<u64> {
        remove(&self.driver, ObjectKind::Layer, name)?;
        let driver = self.driver.clone();
        let shares = !driver.info().caps.intersects(Caps::INDEPENDENT_LAYERS | Caps::LINEAR_SNAPSHOT);
        match self.commit(name)? {
            0 if shares => Ok(content),
            0 => usage(&driver, ObjectKind::Layer, name).map(|found| found.bytes),
            bytes => Ok(bytes),
        }
    }

    /// Publishes it as a writable tree. A name that is taken is an error of the driver's kind `Exists`.
    pub(crate) fn commit_rw(self, name: &str) -> Result<()> {
        self.commit(name).map(drop)
    }

    fn commit(mut self, name: &str) -> Result<u64> {
        let name = key(name)?;
        let stage = self.stage.take().expect("a stage is taken by the one commit that consumes it");
        let viewed = stage.merged().is_some();
        let bytes = stage.commit(name).map_err(|source| Error::Storage { operation: "commit a snapshot", source })?;
        if viewed {
            // What showed the parents while the layer was written has gone to the trash, and it may be a whole tree.
            let _ = self.engine.reap_soon(&self.driver, BUDGET);
        }
        Ok(bytes)
    }

    fn stage(&self) -> &Stage {
        self.stage.as_ref().expect("a stage is taken by the one commit that consumes it")
    }
}

/// Takes an object out of sight; a missing one is no error.
pub(crate) fn remove(driver: &Driver, kind: ObjectKind, name: &str) -> Result<()> {
    driver.remove(kind, key(name)?).map_err(|source| Error::Storage { operation: "remove a snapshot", source })
}
