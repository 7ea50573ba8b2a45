//! What is to be moved, in which order, and about how many bytes that takes.

use std::collections::BTreeSet;

use mica_layer::{ChainId, DiffId, Digest};
use mica_storage_api::ObjectKind;
use mica_storage_loader::Driver;

use super::Object;
use crate::container::ContainerRecord;
use crate::storage::usage;
use crate::store::{containers, images, layers};
use crate::{Engine, Error, Kind, Result};

/// What is moved, in this order.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// True when nothing was named.
    pub(super) everything: bool,
}

/// One object's move.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) object: Object,
    pub(super) stack: Vec<DiffId>,
    /// The drivers it comes from; none when it is there already.
    pub(super) from: Vec<String>,
    /// What it takes on the new driver.
    pub(super) bytes: u64,
}

impl Engine {
    /// Finds what is named, or everything. A container that runs is refused when it was named; among everything it is
    /// refused when its turn comes. Blocks.
    pub(super) fn plan_migration(&self, target: &Driver, names: &[String]) -> Result<Plan> {
        let mut planner = Planner { engine: self, target, steps: Vec::new(), seen: BTreeSet::new() };
        if names.is_empty() {
            let (all, records) = self.store().read(|db| Ok((images::all(db)?, containers::all(db)?)))?;
            for image in all {
                planner.image(&image.id)?;
                // Right after their image, so that its old layers can go before the next image needs room.
                for record in records.iter().filter(|record| record.image_id == image.id) {
                    planner.container(record)?;
                }
            }
            for record in &records {
                planner.container(record)?;
            }
            return Ok(Plan { steps: planner.steps, everything: true });
        }
        let mut running = Vec::new();
        for name in names {
            match self.store().find_container(name) {
                Ok(record) if record.driver != target.name() && self.state_of(&record)?.is_running() => {
                    running.push(format!("`{}`", record.name));
                }
                Ok(record) => planner.container(&record)?,
                Err(error) if error.kind() == Kind::NotFound => {
                    let found = self.store().read(|db| images::resolve(db, name));
                    planner.image(&found.map_err(|error| neither(error, name))?.id)?;
                }
                Err(error) => return Err(error),
            }
        }
        if !running.is_empty() {
            return Err(Error::refused(
                Kind::Conflict,
                format!("cannot move running containers: {}", running.join(", ")),
            )
            .with_hint("stop them first"));
        }
        Ok(Plan { steps: planner.steps, everything: false })
    }
}

struct Planner<'a> {
    engine: &'a Engine,
    target: &'a Driver,
    steps: Vec<Step>,
    /// Layers and containers that are counted already.
    seen: BTreeSet<String>,
}

impl Planner<'_> {
    fn image(&mut self, id: &Digest) -> Result<()> {
        if !self.seen.insert(id.to_string()) {
            return Ok(());
        }
        let store = self.engine.store();
        let (stack, names) = store.read(|db| Ok((images::stack_of(db, id)?, images::tags_of(db, id)?)))?;
        let name = names.first().map_or_else(|| id.short().to_owned(), |name| name.familiar());
        let Some(top) = ChainId::of(&stack) else { return Ok(()) };
        let mut from = store.holders_of(&top)?;
        let there = from.iter().any(|driver| driver == self.target.name());
        from.retain(|driver| driver != self.target.name());
        let bytes = if there { 0 } else { self.missing(&stack)? };
        // An image that no driver holds comes from its blobs alone.
        if !there && from.is_empty() {
            from.push("blobs".to_owned());
        }
        self.steps.push(Step { object: Object::Image { id: id.clone(), name }, stack, from, bytes });
        Ok(())
    }

    fn container(&mut self, record: &ContainerRecord) -> Result<()> {
        if !self.seen.insert(record.id.clone()) {
            return Ok(());
        }
        let object = Object::Container { id: record.id.clone(), name: record.name.clone() };
        let (mut from, mut bytes) = (Vec::new(), 0);
        if record.driver != self.target.name() {
            from.push(record.driver.clone());
            let own = self.engine.driver(&record.driver).and_then(|driver| usage(&driver, ObjectKind::Rw, &record.id));
            // An estimate is no reason to fail; the move is.
            bytes = own.unwrap_or_default().bytes + self.missing(&record.diff_ids)?;
        }
        self.steps.push(Step { object, stack: record.diff_ids.clone(), from, bytes });
        Ok(())
    }

    /// Bytes of the layers that the new driver lacks, each counted once.
    fn missing(&mut self, stack: &[DiffId]) -> Result<u64> {
        let mut bytes = 0;
        for (diff_id, chain) in stack.iter().zip(ChainId::chain(stack)) {
            if !self.seen.insert(diff_id.to_string()) {
                continue;
            }
            let (held, layer) = self.engine.store().read(|db| {
                let held = layers::chain_keys(db, self.target.name(), &chain)?.is_some();
                Ok((held, layers::layer(db, diff_id)?))
            })?;
            bytes += layer.filter(|_| !held).map_or(0, |layer| layer.size);
        }
        Ok(bytes)
    }
}

fn neither(error: Error, name: &str) -> Error {
    if error.kind() == Kind::NotFound {
        return Error::refused(Kind::NotFound, format!("no such image or container: `{}`", name.escape_debug()));
    }
    error
}
