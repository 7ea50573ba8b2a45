//! What a stack lacks on a driver, found out under the locks that keep it so.

use std::collections::{BTreeMap, BTreeSet};

use mica_layer::{ChainId, DiffId};
use mica_storage_api::Caps;
use mica_storage_loader::Driver;

use crate::store::layers::{self, LayerRow};
use crate::store::locks::{Lock, LockName};
use crate::{Engine, Result};

/// What is there of a stack, held in place, and what is missing, held against others who would make it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How many layers, from the bottom, the driver holds as a chain.
    pub(crate) have: usize,
    /// The keys of that chain, top first.
    pub(crate) base_keys: Vec<String>,
    /// Layers whose blob is in the store.
    pub(crate) layers: BTreeMap<DiffId, LayerRow>,
    /// Layers above the chain that the driver holds by themselves.
    pub(crate) objects: BTreeSet<DiffId>,
    pub(crate) locks: Vec<Lock>,
}

impl Plan {
    /// The key of an object that holds a layer as applied on its parents. A bottom layer's chain ID is its diff ID, so the
    /// prefix tells the two apart.
    pub(crate) fn chain_key(&self, chain_id: &ChainId) -> String {
        format!("c-{}", chain_id.0.hex())
    }
}

/// The key of an object that holds a layer by itself.
pub(crate) fn diff_key(diff_id: &DiffId) -> String {
    diff_id.0.hex().to_owned()
}

impl Engine {
    /// Finds out and locks. When something vanished between the look and the lock, it looks again. Blocks.
    pub(crate) fn plan(&self, driver: &Driver, stack: &[DiffId]) -> Result<Plan> {
        loop {
            if let Some(plan) = self.try_plan(driver, stack)? {
                return Ok(plan);
            }
        }
    }

    fn try_plan(&self, driver: &Driver, stack: &[DiffId]) -> Result<Option<Plan>> {
        let mut plan = Plan {
            have: 0,
            base_keys: Vec::new(),
            layers: BTreeMap::new(),
            objects: BTreeSet::new(),
            locks: Vec::new(),
        };
        if !self.lock_layers(stack, &mut plan)? {
            return Ok(None);
        }
        let caps = driver.info().caps;
        let by_layer = caps.contains(Caps::INDEPENDENT_LAYERS) && !caps.contains(Caps::LINEAR_SNAPSHOT);
        if by_layer && !self.lock_objects(driver, stack, &mut plan)? {
            return Ok(None);
        }
        self.lock_chains(driver, stack, by_layer, &mut plan).map(|held| held.then_some(plan))
    }

    /// Layers that are there are held, the others reserved. False: look again.
    fn lock_layers(&self, stack: &[DiffId], plan: &mut Plan) -> Result<bool> {
        let distinct: BTreeSet<&DiffId> = stack.iter().collect();
        for diff_id in distinct {
            let name = LockName::Layer(diff_id.clone());
            let there = self.sound_layer(diff_id)?.is_some();
            plan.locks.push(if there {
                self.store().lock_shared(&name)?
            } else {
                self.store().lock_exclusive(&name)?
            });
            match self.sound_layer(diff_id)? {
                Some(row) => drop(plan.layers.insert(diff_id.clone(), row)),
                None if there => return Ok(false),
                None => {}
            }
        }
        Ok(true)
    }

    fn lock_objects(&self, driver: &Driver, stack: &[DiffId], plan: &mut Plan) -> Result<bool> {
        let distinct: BTreeSet<&DiffId> = stack.iter().collect();
        for diff_id in distinct {
            let key = diff_key(diff_id);
            let sound = || {
                self.store()
                    .read(|db| Ok(layers::object(db, driver.name(), &key)?.is_some_and(|object| !object.broken)))
            };
            let name = LockName::Object(driver.name().to_owned(), key.clone());
            let there = sound()?;
            plan.locks.push(if there {
                self.store().lock_shared(&name)?
            } else {
                self.store().lock_exclusive(&name)?
            });
            match sound()? {
                true => drop(plan.objects.insert(diff_id.clone())),
                false if there => return Ok(false),
                false => {}
            }
        }
        Ok(true)
    }

    /// Reserves the objects that are named by chain, bottom first, then holds the deepest chain that is there.
    fn lock_chains(&self, driver: &Driver, stack: &[DiffId], by_layer: bool, plan: &mut Plan) -> Result<bool> {
        let chain_ids = ChainId::chain(stack);
        let (seen, _) = self.deepest(driver, &chain_ids)?;
        let linear = driver.info().caps.contains(Caps::LINEAR_SNAPSHOT);
        for (index, chain_id) in chain_ids.iter().enumerate().skip(seen) {
            // A layer that stands alone needs no object of its own for this chain, and of whole trees only the top is made.
            let stands_alone = by_layer && plan.objects.contains(&stack[index]);
            let inside_a_tree = linear && index + 1 < chain_ids.len();
            if !stands_alone && !inside_a_tree {
                let name = LockName::Object(driver.name().to_owned(), plan.chain_key(chain_id));
                plan.locks.push(self.store().lock_exclusive(&name)?);
            }
        }
        // Somebody else may have made more of it while we waited.
        let (have, keys) = self.deepest(driver, &chain_ids)?;
        if have < seen {
            return Ok(false);
        }
        (plan.have, plan.base_keys) = (have, keys);
        let Some(top) = have.checked_sub(1).map(|top| &chain_ids[top]) else { return Ok(true) };
        plan.locks.push(self.store().lock_shared(&LockName::Chain(driver.name().to_owned(), top.clone()))?);
        let still = self.store().read(|db| layers::chain_keys(db, driver.name(), top))?;
        Ok(still.as_ref() == Some(&plan.base_keys))
    }

    fn deepest(&self, driver: &Driver, chain_ids: &[ChainId]) -> Result<(usize, Vec<String>)> {
        self.store().read(|db| {
            for (index, chain_id) in chain_ids.iter().enumerate().rev() {
                if let Some(keys) = layers::chain_keys(db, driver.name(), chain_id)? {
                    return Ok((index + 1, keys));
                }
            }
            Ok((0, Vec::new()))
        })
    }

    /// A layer's row, if its blob is there in full. The bytes are verified when they are read.
    pub(crate) fn sound_layer(&self, diff_id: &DiffId) -> Result<Option<LayerRow>> {
        let Some(row) = self.store().read(|db| layers::layer(db, diff_id))? else { return Ok(None) };
        let path = self.store().blob_path(&row.blob);
        let whole = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == row.blob_size);
        Ok(whole.then_some(row))
    }
}
