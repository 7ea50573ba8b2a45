//! Snapshots through storage drivers: which driver, from layers to mounted chains, and back from writable trees to layers.
//!
//! Reading order: `backend` (which driver), `chain` (what is held), `plan` and `materialise` (from layers to chains), `rw`
//! (writable trees), `seal` (from a writable tree to a layer), `reclaim` and `reap` (bytes come back).

mod aside;
mod backend;
mod chain;
pub(crate) mod materialise;
mod plan;
pub(crate) mod reap;
pub(crate) mod reclaim;
mod rw;
mod seal;
pub(crate) mod stage;

use std::path::PathBuf;

use mica_layer::DiffId;
use mica_storage_api::Caps;
use mica_storage_loader::Driver;
use rustix::fs::{Mode, OFlags, fstat, open, syncfs};

pub(crate) use backend::Backends;
pub(crate) use chain::Hold;
pub(crate) use chain::key;
pub use chain::{Chain, Sealed};
pub use mica_layer::{Change, ChangeKind};
pub(crate) use rw::mount;
pub use rw::{Usage, Volatility};
pub use seal::Source;

use crate::ops::load::Silent;
use crate::store::{Flush, layers};
use crate::{Durability, Engine, Error, Kind, Result};
use materialise::Stored;

impl Engine {
    /// The chain of a stack on the selected driver, unpacked from blobs where it is missing, and held in place for the
    /// life of the value.
    pub async fn ensure_chain(&self, stack: &[DiffId]) -> Result<Chain> {
        let stack = stack.to_vec();
        self.blocking(move |engine| engine.chain_on(&engine.selected_driver()?, &stack)).await
    }

    /// The chain a container was made on: like [`Engine::ensure_chain`], on a given driver.
    pub async fn ensure_chain_on(&self, driver: &str, stack: &[DiffId]) -> Result<Chain> {
        let (driver, stack) = (driver.to_owned(), stack.to_vec());
        self.blocking(move |engine| engine.chain_on(&engine.driver(&driver)?, &stack)).await
    }

    /// The driver a new snapshot would go to; selects one when none is yet.
    pub async fn driver_name(&self) -> Result<String> {
        self.blocking(|engine| Ok(engine.selected_driver()?.name().to_owned())).await
    }

    /// A stack's chain, made where it is missing. Blocks.
    pub(crate) fn chain_on(&self, driver: &Driver, stack: &[DiffId]) -> Result<Chain> {
        loop {
            if let Some(chain) = self.pin_chain(driver, stack)? {
                return Ok(chain);
            }
            let made = self.materialise(driver, stack, &Stored, &Silent)?;
            self.flush(driver)?;
            self.store().write(Flush::Later, |db| layers::insert(db, driver.name(), &made.rows, None))?;
        }
    }

    /// Brings everything that was written to the disk: one call for all files of the store and of the driver. Blocks.
    pub(crate) fn flush(&self, driver: &Driver) -> Result<()> {
        if self.options().durability == Durability::None {
            return Ok(());
        }
        let content = self.store().root().join("content");
        let own = self.driver_root(driver.name());
        let flushed = flush_filesystem(&content, None)?;
        if !driver.info().caps.contains(Caps::SELF_DURABLE) {
            flush_filesystem(&own, Some(flushed))?;
        }
        Ok(())
    }

    /// Where a driver keeps its bytes.
    pub(crate) fn driver_root(&self, driver: &str) -> PathBuf {
        self.store().root().join("drivers").join(driver)
    }
}

/// Flushes the file system of a directory, unless it is the one that was just flushed.
fn flush_filesystem(path: &std::path::Path, done: Option<u64>) -> Result<u64> {
    let fail = |errno: rustix::io::Errno| Error::io("flush the file system of", path)(errno.into());
    let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    let device = fstat(&directory).map_err(fail)?.st_dev;
    if done != Some(device) {
        syncfs(&directory).map_err(fail)?;
    }
    Ok(device)
}

/// What a damaged or missing layer means for whoever asked.
pub(crate) fn layer_missing(diff_id: &DiffId) -> Error {
    Error::refused(Kind::Corrupt, format!("layer `{diff_id}` is missing from the store"))
        .with_hint("loading the image again brings it back")
}
