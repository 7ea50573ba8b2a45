//! [`Chain`]: what a mount needs, held in place while it is needed.

use mica_layer::{ChainId, DiffId};
use mica_storage_api::{Caps, Key};
use mica_storage_loader::Driver;

use crate::store::layers;
use crate::store::locks::{Lock, LockName};
use crate::{Engine, Error, Result};

/// A stack of layers as a driver holds it. Nobody removes any of it while this value lives.
#[derive(Debug)]
pub struct Chain {
    pub(crate) driver: Driver,
    pub(crate) stack: Vec<DiffId>,
    pub(crate) chain_id: Option<ChainId>,
    pub(crate) keys: Vec<String>,
    // The pins.
    pub(crate) _locks: Vec<Lock>,
}

impl Chain {
    /// The driver that holds it.
    pub fn driver(&self) -> &str {
        self.driver.name()
    }

    /// The stack's identity; `None` for `scratch`.
    pub fn chain_id(&self) -> Option<&ChainId> {
        self.chain_id.as_ref()
    }

    /// The layers, bottom first.
    pub fn stack(&self) -> &[DiffId] {
        &self.stack
    }

    /// The driver's keys, top first.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

/// A writable tree that became a layer.
#[derive(Debug)]
pub struct Sealed {
    /// The new layer.
    pub diff_id: DiffId,
    /// Bytes of file content in it.
    pub size: u64,
    /// The stack with the new layer on top, held in place.
    pub chain: Chain,
}

impl Engine {
    /// The chain of a stack if the driver holds all of it, pinned. Blocks.
    pub(crate) fn pin_chain(&self, driver: &Driver, stack: &[DiffId]) -> Result<Option<Chain>> {
        let chain_id = ChainId::of(stack);
        let mut chain =
            Chain { driver: driver.clone(), stack: stack.to_vec(), chain_id, keys: Vec::new(), _locks: Vec::new() };
        let Some(top) = &chain.chain_id else { return Ok(Some(chain)) };
        chain._locks.push(self.store().lock_shared(&LockName::Chain(driver.name().to_owned(), top.clone()))?);
        // Rows of whole trees do not hold the rows of the layers below the top.
        if driver.info().caps.contains(Caps::LINEAR_SNAPSHOT) {
            let mut layers: Vec<LockName> = stack.iter().cloned().map(LockName::Layer).collect();
            layers.sort();
            layers.dedup();
            for name in layers {
                chain._locks.push(self.store().lock_shared(&name)?);
            }
        }
        // Looked up after the pin: what is found now stays.
        let Some(keys) = self.store().read(|db| layers::chain_keys(db, driver.name(), top))? else { return Ok(None) };
        chain.keys = keys;
        Ok(Some(chain))
    }
}

/// The keys as driver calls take them.
pub(crate) fn keys(texts: &[String]) -> Result<Vec<Key<'_>>> {
    texts.iter().map(|text| key(text)).collect()
}

/// A key as driver calls take it.
pub(crate) fn key(text: &str) -> Result<Key<'_>> {
    Key::new(text).map_err(|source| {
        let source = mica_storage_loader::Error::Call { driver: String::new(), operation: "key", source };
        Error::Storage { operation: "name an object", source }
    })
}
