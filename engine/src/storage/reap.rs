//! Emptying the trash: a little at once, the rest by a detached process that nobody waits for.
//!
//! Removal has hidden the bytes already. Whoever removed something frees what takes no time and starts `__reap` for the rest,
//! unless the lock on the driver's trash says that somebody is at it. The reaper may be killed at any moment: its lock goes
//! with it, and the lock's file, which only a dead owner leaves, tells the next command to start another.

use std::time::Duration;

use mica_storage_loader::Driver;

use crate::engine::Reaping;
use crate::store::locks::LockName;
use crate::store::names_in;
use crate::{Engine, Error, Result};

/// What a person waits for when something is removed.
pub(crate) const BUDGET: Duration = Duration::from_millis(20);
/// How long one call of a driver empties its trash.
const STEP: Duration = Duration::from_millis(200);

/// The verb by which this program is called to empty the trash.
const VERB: &str = "__reap";

/// Whether a removal waits until the bytes are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It does: `prune`.
    Wait,
    /// It leaves what takes long to the reaper.
    Leave,
}

impl Engine {
    /// Empties a driver's trash, all of it or what goes at once, where somebody can be left to do the rest. Blocks.
    pub(crate) fn reap_patiently(&self, driver: &Driver, patience: Patience) -> Result<()> {
        match patience {
            Patience::Leave if self.has_reaper() => self.reap_soon(driver, BUDGET),
            Patience::Leave | Patience::Wait => self.reap_all(driver),
        }
    }

    /// Empties a driver's trash. Blocks.
    fn reap_all(&self, driver: &Driver) -> Result<()> {
        // Whoever waits for it helps a reaper that has the least of this machine, and is done when that is done too.
        while self.reap(driver, STEP)? {}
        let _alone = self.store().lock_exclusive(&LockName::Reap(driver.name().to_owned()))?;
        while self.reap(driver, STEP)? {}
        Ok(())
    }

    /// Empties a driver's trash for about so long and leaves the rest to the reaper. Blocks.
    pub(crate) fn reap_soon(&self, driver: &Driver, budget: Duration) -> Result<()> {
        if self.reap_while_alone(driver, &mut |driver| self.reap(driver, budget))? {
            self.start_reaper();
        }
        Ok(())
    }

    /// Starts the reaper. What goes wrong with it is no reason for a removal to fail: the trash waits. Blocks for about a
    /// millisecond.
    pub(crate) fn start_reaper(&self) {
        if !self.has_reaper() {
            return;
        }
        let mut command = self.options().self_command.clone();
        command.push(VERB.to_owned());
        tracing::debug!("the reaper is started");
        if let Err(error) = self.options().runtime.detach(&command) {
            tracing::warn!(%error, "cannot start the reaper; `mica system prune` empties the trash");
        }
    }

    /// True when somebody else can be left to empty the trash.
    pub(crate) fn has_reaper(&self) -> bool {
        self.options().reaping == Reaping::Detached && !self.options().self_command.is_empty()
    }

    /// Starts the reaper again when the last one was killed: then its lock's file is there and nobody holds it. Blocks.
    pub(crate) fn resume_reaping(&self) -> Result<()> {
        if !self.has_reaper() {
            return Ok(());
        }
        for driver in self.drivers_on_disk()? {
            let lock = LockName::Reap(driver);
            if self.store().has_lock_file(&lock) && self.store().try_lock(&lock)?.is_some() {
                self.start_reaper();
                break;
            }
        }
        Ok(())
    }

    /// Empties a driver's trash unless somebody else does. Blocks.
    pub(crate) fn reap_unless_taken(&self, driver: &Driver) -> Result<()> {
        let wholly = &mut |driver: &Driver| {
            while self.reap(driver, STEP)? {}
            Ok(false)
        };
        self.reap_while_alone(driver, wholly).map(drop)
    }

    /// Lets `work` empty the trash under the lock that only one has; true when it says that something is left.
    fn reap_while_alone(&self, driver: &Driver, work: &mut dyn FnMut(&Driver) -> Result<bool>) -> Result<bool> {
        loop {
            let Some(alone) = self.store().try_lock(&LockName::Reap(driver.name().to_owned()))? else {
                return Ok(false);
            };
            if work(driver)? {
                return Ok(true);
            }
            drop(alone);
            // Whoever removed something while the lock was held has left it to its holder, perhaps after the last look.
            // Several may reap at once, so this look needs no lock.
            if !self.reap(driver, Duration::ZERO)? {
                return Ok(false);
            }
        }
    }

    /// Empties a driver's trash for about so long; true when something is left that may go. What running containers stand on
    /// may not, and that is asked before every step, because a repair may put such a thing there meanwhile.
    fn reap(&self, driver: &Driver, budget: Duration) -> Result<bool> {
        if self.is_trash_held(driver.name())? {
            return Ok(false);
        }
        driver.reap(budget).map_err(|source| Error::Storage { operation: "empty the trash", source })
    }

    /// Drivers that have a directory in the store.
    pub(crate) fn drivers_on_disk(&self) -> Result<Vec<String>> {
        names_in(&self.store().root().join("drivers"))
    }
}
