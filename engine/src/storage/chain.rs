//! [`Chain`]: what a mount needs, held in place while it is needed.

use std::collections::BTreeSet;

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
    // Held, never looked at.
    locks: Vec<Lock>,
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

/// The layers of a stack, held in place whether or not a driver has them unpacked.
#[derive(Debug)]
pub(crate) struct Hold(#[expect(dead_code, reason = "held for the locks in it")] Vec<Lock>);

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
        let Some(mut chain) = self.pin_top(driver, stack)? else { return Ok(None) };
        self.hold_layers(&mut chain)?;
        Ok(Some(chain))
    }

    /// Holds the layers of a stack, and its chain where the driver has it. What is not there is not made. Blocks.
    pub(crate) fn hold_stack(&self, driver: &Driver, stack: &[DiffId]) -> Result<Hold> {
        if let Some(chain) = self.pin_chain(driver, stack)? {
            return Ok(Hold(chain.locks));
        }
        let distinct: BTreeSet<&DiffId> = stack.iter().collect();
        let locks = distinct.into_iter().map(|diff_id| self.store().lock_shared(&LockName::Layer(diff_id.clone())));
        locks.collect::<Result<_>>().map(Hold)
    }

    /// Holds the chain's rows on the driver, and with them the row of its topmost layer.
    fn pin_top(&self, driver: &Driver, stack: &[DiffId]) -> Result<Option<Chain>> {
        let mut chain = self.reserve_chain(driver, stack)?;
        // Looked up after the pin: what is found now stays.
        Ok(self.find_keys(&mut chain)?.then_some(chain))
    }

    /// Holds the name of a chain, whether or not it has rows yet. Who inserts rows that no image and no container names
    /// takes this first: once they are visible, a sweep in another process would take them away again. Blocks.
    pub(crate) fn reserve_chain(&self, driver: &Driver, stack: &[DiffId]) -> Result<Chain> {
        let chain_id = ChainId::of(stack);
        let name = chain_id.clone().map(|top| LockName::Chain(driver.name().to_owned(), top));
        let locks = name.iter().map(|name| self.store().lock_shared(name)).collect::<Result<_>>()?;
        Ok(Chain { driver: driver.clone(), stack: stack.to_vec(), chain_id, keys: Vec::new(), locks })
    }

    /// Looks up the keys of a chain that is held; false when the driver does not have it.
    pub(crate) fn find_keys(&self, chain: &mut Chain) -> Result<bool> {
        let Some(top) = &chain.chain_id else { return Ok(true) };
        let Some(keys) = self.store().read(|db| layers::chain_keys(db, chain.driver.name(), top))? else {
            return Ok(false);
        };
        chain.keys = keys;
        Ok(true)
    }

    /// Holds the rows of the layers below the top, where the driver's rows are of whole trees and do not do it.
    pub(crate) fn hold_layers(&self, chain: &mut Chain) -> Result<()> {
        if !chain.driver.info().caps.contains(Caps::LINEAR_SNAPSHOT) {
            return Ok(());
        }
        let distinct: BTreeSet<DiffId> = chain.stack.iter().cloned().collect();
        for diff_id in distinct {
            chain.locks.push(self.store().lock_shared(&LockName::Layer(diff_id))?);
        }
        Ok(())
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
