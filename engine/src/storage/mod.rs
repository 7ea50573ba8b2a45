//! Snapshots through storage drivers: which driver, from layers to mounted chains, and back from writable trees to layers.
//!
//! Reading order: `backend` (which driver), `chain` (what is held), `plan` and `materialise` (from layers to chains), `forms` (a layer in
//! several compressions), `rw`
//! (writable trees), `limits` (what they may hold), `bounds` (how large layers may be), `seal` (from a writable tree to a layer), `durable` (when it is on the disk), `reclaim` and `reap` (bytes come back).

mod aside;
mod backend;
pub mod bounds;
mod chain;
mod durable;
pub(crate) mod forms;
pub(crate) mod limits;
pub(crate) mod materialise;
mod plan;
pub(crate) mod reap;
pub(crate) mod reclaim;
mod rw;
mod seal;
pub(crate) mod stage;

use std::path::PathBuf;

use mica_layer::DiffId;
use mica_storage_loader::Driver;

pub(crate) use backend::Backends;
pub use backend::{PROBED, options_of};
pub(crate) use chain::Hold;
pub(crate) use chain::key;
pub use chain::{Chain, Sealed};
pub use mica_layer::{Change, ChangeKind};
pub use rw::{Usage, Volatility};
pub(crate) use rw::{changes, mount, mount_mapped, usage};
pub use seal::Source;
pub(crate) use stage::remove;

use crate::ops::load::Silent;
use crate::store::{Flush, layers};
use crate::{Engine, Error, Kind, Result};
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
            // All blobs were there, and flushed, before.
            let on_disk = self.flush_blobs(driver, &[])?;
            self.store().write(Flush::Later, |db| layers::insert(db, driver.name(), &made.rows, &on_disk))?;
            self.settle_soon()?;
        }
    }

    /// Where a driver keeps its bytes.
    pub(crate) fn driver_root(&self, driver: &str) -> PathBuf {
        self.store().root().join("drivers").join(driver)
    }
}

/// What a damaged or missing layer means for whoever asked.
pub(crate) fn layer_missing(diff_id: &DiffId) -> Error {
    Error::refused(Kind::Corrupt, format!("layer `{diff_id}` is missing from the store"))
        .with_hint("loading the image again brings it back")
}
