//! `storage migrate`: images and stopped containers go from one driver to another, and keep their IDs, names and bytes.
//!
//! An image is unpacked on the new driver from the blobs that the store keeps, so nothing is downloaded; then the old driver
//! lets its layers go where no container stands on them. A container is moved by [`container`]. Each object is moved by
//! itself and wholly, so what is cut off is simply run again and goes on where it was.

mod container;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use mica_layer::{ChainId, DiffId, Digest};
use mica_storage_loader::Driver;

use crate::storage::reap::Patience;
use crate::store::{Flush, images, layers, preference};
use crate::{Engine, Error, Kind, Result};
use plan::{Plan, Step};

/// What to move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrateRequest {
    /// The driver: a name, or the path of a library.
    pub to: String,
    /// Images and containers; empty for everything.
    pub names: Vec<String>,
    /// Leave the images' layers on the old drivers too.
    pub keep: bool,
    /// Only tell what would be moved.
    pub dry_run: bool,
}

/// Something that is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// An image.
    Image {
        /// Its ID.
        id: Digest,
        /// A name of it, or its short ID.
        name: String,
    },
    /// A container.
    Container {
        /// 64 hexadecimal digits.
        id: String,
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image { name, .. } => write!(f, "image {name}"),
            Self::Container { name, .. } => write!(f, "container {name}"),
        }
    }
}

/// What came of an object.
#[derive(Debug)]
pub enum Outcome {
    /// It is on the new driver, and was on these.
    Moved(Vec<String>),
    /// It would come from these drivers, and takes about so many bytes.
    Planned(Vec<String>, u64),
    /// It was there already.
    There,
    /// It stays where it was.
    Stays(Error),
}

/// Where new containers go from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To the new driver: everything is there.
    Switched,
    /// To the driver the store used before, unless their image is elsewhere alone.
    Unchanged(String),
    /// To the driver that a flag, the environment or the configuration names.
    Told(String),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The new driver's name.
    pub driver: String,
    /// How many objects stay where they were.
    pub stayed: u64,
    /// Where new containers go.
    pub new_containers: Destination,
}

/// Who is told what came of each object.
pub trait MigrateProgress: Send + Sync {
    /// One object is done with.
    fn done(&self, object: &Object, outcome: Outcome);
}

impl Engine {
    /// Moves images and stopped containers to a driver.
    pub async fn migrate(&self, request: MigrateRequest, progress: Arc<dyn MigrateProgress>) -> Result<Migrated> {
        self.blocking(move |engine| {
            let target = engine.driver(&request.to)?;
            let plan = engine.plan_migration(&target, &request.names)?;
            let mut migration = Migration {
                engine,
                target: &target,
                keep: request.keep,
                progress: &*progress,
                arrived: BTreeSet::new(),
                stayed: Vec::new(),
            };
            if request.dry_run {
                migration.tell(&plan);
            } else {
                migration.run(&plan)?;
            }
            let stayed = migration.stayed.len() as u64;
            Ok(Migrated { driver: target.name().to_owned(), stayed, new_containers: engine.destination(&target)? })
        })
        .await
    }

    fn destination(&self, target: &Driver) -> Result<Destination> {
        if let Some(told) = &self.options().storage_driver {
            let name = self.driver(told)?.name().to_owned();
            return Ok(if name == target.name() { Destination::Switched } else { Destination::Told(name) });
        }
        Ok(match self.store().read(preference::driver)? {
            Some(name) if name != target.name() => Destination::Unchanged(name),
            _ => Destination::Switched,
        })
    }
}

/// One call's surroundings.
struct Migration<'a> {
    engine: &'a Engine,
    target: &'a Driver,
    keep: bool,
    progress: &'a dyn MigrateProgress,
    /// Stacks of images that are on the new driver.
    arrived: BTreeSet<ChainId>,
    /// Stacks of what could not be moved.
    stayed: Vec<Vec<DiffId>>,
}

impl Migration<'_> {
    fn tell(&self, plan: &Plan) {
        for step in &plan.steps {
            let outcome =
                if step.from.is_empty() { Outcome::There } else { Outcome::Planned(step.from.clone(), step.bytes) };
            self.progress.done(&step.object, outcome);
        }
    }

    fn run(&mut self, plan: &Plan) -> Result<()> {
        let store = self.engine.store();
        // The driver that holds most changes while chains move; what the store uses does not, before everything has.
        if let (false, Some(before)) = (plan.everything, store.read(preference::driver)?) {
            store.write(Flush::Later, |db| preference::set_driver(db, &before))?;
        }
        for step in &plan.steps {
            let outcome = match self.step(step) {
                Ok(outcome) => outcome,
                Err(error) => {
                    if error.kind() == Kind::NoSpace {
                        // What was begun gives its space back; something smaller may still fit.
                        self.engine.collect_garbage(Patience::Wait)?;
                    }
                    self.stayed.push(step.stack.clone());
                    Outcome::Stays(error)
                }
            };
            self.progress.done(&step.object, outcome);
        }
        if plan.everything {
            self.settle()?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<Outcome> {
        match &step.object {
            Object::Container { id, .. } => self.engine.move_container(id, self.target)?,
            Object::Image { .. } => {
                self.require_room(step)?;
                drop(self.engine.chain_on(self.target, &step.stack)?);
                self.arrived.extend(ChainId::of(&step.stack));
            }
        }
        self.let_go(step)?;
        Ok(if step.from.is_empty() { Outcome::There } else { Outcome::Moved(step.from.clone()) })
    }

    /// Refuses what is known not to fit, before it has filled the disk.
    fn require_room(&self, step: &Step) -> Result<()> {
        let root = self.engine.driver_root(self.target.name());
        let disk = rustix::fs::statvfs(&root).map_err(|errno| Error::io("look at", &root)(errno.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if step.bytes <= free {
            return Ok(());
        }
        Err(Error::refused(
            Kind::NoSpace,
            format!(
                "{} needs {} bytes on driver `{}` and {free} are free",
                step.object,
                step.bytes,
                self.target.name()
            ),
        )
        .with_hint("make room and run the same command again: it goes on where it stopped"))
    }

    /// Lets the old drivers' layers of a stack go, as far as every image that ends there has arrived.
    fn let_go(&self, step: &Step) -> Result<()> {
        if self.keep || step.from.is_empty() {
            return Ok(());
        }
        let store = self.engine.store();
        let tops = store.read(images::all)?;
        let needed: BTreeSet<ChainId> =
            tops.into_iter().filter_map(|image| image.chain_id).filter(|chain| !self.arrived.contains(chain)).collect();
        let mut chains = ChainId::chain(&step.stack);
        chains.retain(|chain| !needed.contains(chain));
        chains.reverse();
        for driver in &step.from {
            store.release(driver, &chains)?;
        }
        self.engine.reclaim(Patience::Leave).map(drop)
    }

    /// At the end of a move of everything: chains that only cached build steps name go too, since their blobs stay; and when
    /// nothing stayed, the store uses the new driver from now on.
    fn settle(&self) -> Result<()> {
        let store = self.engine.store();
        let kept: BTreeSet<ChainId> = self.stayed.iter().flat_map(|stack| ChainId::chain(stack)).collect();
        for driver in store.read(layers::drivers_in_use)? {
            if self.keep || driver == self.target.name() {
                continue;
            }
            let mut chains = store.chains_of(&driver)?;
            chains.retain(|chain| !kept.contains(chain));
            store.release(&driver, &chains)?;
        }
        if self.stayed.is_empty() {
            store.write(Flush::Now, |db| preference::set_driver(db, self.target.name()))?;
        }
        self.engine.reclaim(Patience::Leave).map(drop)
    }
}
