//! Snapshots through storage drivers: which driver, from layers to mounted chains, and back from writable trees to layers.

mod chain;

pub use chain::{Chain, Sealed};

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use mica_layer::DiffId;
pub use mica_layer::{Change, ChangeKind};

use crate::{Engine, Result};

/// Whether a writable tree must survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatility {
    /// It must.
    Durable,
    /// It is thrown away anyway: `run --rm` and build steps.
    Volatile,
}

/// What becomes of a writable tree that is sealed into a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It stays: `commit`.
    Keep,
    /// It turns into the layer where the driver can, and is gone in any case: build steps.
    Consume,
}

/// What a writable tree occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// The drivers this process has opened.
#[derive(Debug, Default)]
pub(crate) struct Backends {}

impl Engine {
    /// The chain of a stack on the selected driver, unpacked from blobs where it is missing, and held in place for the
    /// life of the value.
    pub async fn ensure_chain(&self, stack: &[DiffId]) -> Result<Chain> {
        let _ = stack;
        todo!()
    }

    /// The chain a container was made on: like [`Engine::ensure_chain`], on a given driver.
    pub async fn ensure_chain_on(&self, driver: &str, stack: &[DiffId]) -> Result<Chain> {
        let _ = (driver, stack);
        todo!()
    }

    /// Makes an empty writable tree over a chain. A tree with this name that nobody has a row for is replaced.
    pub async fn rw_create(&self, chain: &Chain, id: &str) -> Result<()> {
        let _ = (chain, id);
        todo!()
    }

    /// A detached mount of a writable tree over its chain.
    pub async fn rw_mount(&self, chain: &Chain, id: &str, volatility: Volatility) -> Result<OwnedFd> {
        let _ = (chain, id, volatility);
        todo!()
    }

    /// Takes a writable tree away: O(1), the bytes go later. A missing tree is no error.
    pub async fn rw_remove(&self, driver: &str, id: &str) -> Result<()> {
        let _ = (driver, id);
        todo!()
    }

    /// A detached read-only mount of a chain.
    pub async fn view_mount(&self, chain: &Chain) -> Result<OwnedFd> {
        let _ = chain;
        todo!()
    }

    /// What a writable tree has changed, in the order of paths.
    pub async fn rw_changes(&self, chain: &Chain, id: &str) -> Result<Vec<Change>> {
        let _ = (chain, id);
        todo!()
    }

    /// What a writable tree occupies by itself.
    pub async fn rw_usage(&self, driver: &str, id: &str) -> Result<Usage> {
        let _ = (driver, id);
        todo!()
    }

    /// Writes what a writable tree has changed as a layer: its archive becomes a blob, its tree a snapshot.
    pub async fn rw_seal(&self, chain: &Chain, id: &str, source: Source) -> Result<Sealed> {
        let _ = (chain, id, source);
        todo!()
    }

    /// The driver a new snapshot would go to; selects one when none is yet.
    pub async fn driver_name(&self) -> Result<String> {
        todo!()
    }

    /// Where a driver keeps its bytes.
    pub(crate) fn driver_root(&self, driver: &str) -> PathBuf {
        self.options().root.join("drivers").join(driver)
    }
}
