//! Giving bytes back: what the sweep took the rows of, what dead commands left, and the drivers' trash.
//!
//! A directory or blob without a row is garbage by definition, unless the lock on its name says that somebody is making it. So
//! nothing here guesses by age.

use std::time::Duration;

use mica_layer::Digest;
use mica_storage_api::{Flow, ObjectKind};
use mica_storage_loader::Driver;

use super::stage::remove;
use crate::store::images::{self, collect};
use crate::store::layers;
use crate::store::locks::LockName;
use crate::store::sweep::Swept;
use crate::store::{Flush, boot_id, names_in};
use crate::{Engine, Error, Result};

/// How long one call of a driver empties its trash.
const REAP_STEP: Duration = Duration::from_millis(200);

impl Engine {
    /// Takes away what nobody needs, rows first, and gives its bytes back before it returns. Blocks.
    pub(crate) fn reclaim(&self) -> Result<Swept> {
        self.store().make_room();
        let mut all = Swept::default();
        loop {
            let swept = self.store().sweep()?;
            self.remove_swept(&swept)?;
            let more = swept.partial && !swept.is_empty();
            all.absorb(swept);
            if !more {
                break;
            }
        }
        self.store().compact()?;
        Ok(all)
    }

    fn remove_swept(&self, swept: &Swept) -> Result<()> {
        for (driver, key, _) in &swept.objects {
            // What cannot be removed now has no row any more, so the next collection takes it.
            if let Err(error) = self.driver(driver).and_then(|driver| remove(&driver, ObjectKind::Layer, key)) {
                tracing::warn!(driver, key, %error, "cannot remove a snapshot");
            }
        }
        for (digest, _) in &swept.blobs {
            if let Err(error) = self.store().remove_blob(digest) {
                tracing::warn!(%digest, %error, "cannot remove a blob");
            }
        }
        for driver in self.drivers_on_disk()? {
            match self.driver(&driver).and_then(|driver| self.reap_all(&driver)) {
                Ok(()) => {}
                Err(error) => tracing::warn!(driver, %error, "cannot empty the driver's trash"),
            }
        }
        Ok(())
    }

    /// Takes away what has no row: what commands left that died. Blocks.
    pub(crate) fn collect_garbage(&self) -> Result<()> {
        self.sweep_containers()?;
        for name in self.drivers_on_disk()? {
            match self.driver(&name) {
                Ok(driver) => self.collect_objects(&driver)?,
                Err(error) => tracing::warn!(driver = name, %error, "cannot look for left-overs"),
            }
        }
        self.collect_blobs()?;
        self.store().collect_ingests()?;
        self.store().collect_beginnings()?;
        self.store().tidy_locks()
    }

    /// Once per boot of the machine: what the last boot had not flushed is forgotten, what it left is taken away. Blocks.
    pub(crate) fn recover_store(&self) -> Result<()> {
        let mark = self.store().run_root().join(format!("boot-{}", self.store().id()));
        let boot = boot_id()?;
        let current = || fs_err::read_to_string(&mark).is_ok_and(|marked| marked == boot);
        if current() {
            return Ok(());
        }
        // Nothing can be mended on a disk that cannot be written, and readers verify what they read.
        if self.store().is_read_only() {
            return Ok(());
        }
        self.store().make_room();
        let _alone = self.store().lock_exclusive(&LockName::Recovery)?;
        if current() {
            return Ok(());
        }
        self.store().write(Flush::Now, |db| layers::forget_unflushed(db, &boot))?;
        self.collect_garbage()?;
        self.store().keep_room();
        fs_err::write(&mark, &boot).map_err(Error::io("write", &mark))
    }

    fn collect_objects(&self, driver: &Driver) -> Result<()> {
        let mut found = Vec::new();
        let list = driver.list(&mut |kind, key| {
            found.push((kind, key.as_str().to_owned()));
            Flow::Continue
        });
        list.map_err(|source| Error::Storage { operation: "list snapshots", source })?;
        for (kind, name) in &found {
            let lock = match kind {
                ObjectKind::Layer => LockName::Object(driver.name().to_owned(), name.clone()),
                ObjectKind::Rw | ObjectKind::Stage => LockName::Stage(driver.name().to_owned(), name.clone()),
            };
            if self.has_row(driver.name(), *kind, name)? {
                continue;
            }
            let Some(_lock) = self.store().try_lock(&lock)? else { continue };
            // A container is made under the claim on its directory.
            let directory = self.store().directories(name).state;
            let _claim = match (kind, directory.exists()) {
                (ObjectKind::Rw, true) => match self.store().try_claim(name)? {
                    Some(claim) => Some(claim),
                    None => continue,
                },
                _ => None,
            };
            if !self.has_row(driver.name(), *kind, name)? {
                tracing::debug!(driver = driver.name(), name, "left-over taken away");
                remove(driver, *kind, name)?;
            }
        }
        let broken = |row: &layers::ObjectRow| {
            !row.broken && !found.iter().any(|(kind, name)| *kind == ObjectKind::Layer && *name == row.key)
        };
        let lost: Vec<_> =
            self.store().read(|db| layers::all_objects(db, driver.name()))?.into_iter().filter(broken).collect();
        for row in lost {
            // Made since the list was read, or in the middle of being removed: then somebody holds it.
            let Some(_lock) = self.store().try_lock(&LockName::Object(driver.name().to_owned(), row.key.clone()))?
            else {
                continue;
            };
            let missing =
                driver.check(ObjectKind::Layer, super::key(&row.key)?, mica_storage_api::CheckLevel::Present).is_err();
            if missing && self.has_row(driver.name(), ObjectKind::Layer, &row.key)? {
                tracing::warn!(
                    driver = driver.name(),
                    key = row.key,
                    "a snapshot has lost its directory and will be rebuilt"
                );
                self.store().write(Flush::Later, |db| layers::set_broken(db, driver.name(), &row.key))?;
            }
        }
        self.reap_all(driver)
    }

    pub(crate) fn has_row(&self, driver: &str, kind: ObjectKind, name: &str) -> Result<bool> {
        self.store().read(|db| match kind {
            ObjectKind::Layer => Ok(layers::object(db, driver, name)?.is_some()),
            ObjectKind::Rw => {
                Ok(!collect(db, "SELECT 1 FROM containers WHERE id = ?1", [name], |_| Ok(()))?.is_empty())
            }
            ObjectKind::Stage => Ok(false),
        })
    }

    fn collect_blobs(&self) -> Result<()> {
        for algorithm in ["sha256", "sha512"] {
            for name in names_in(&self.store().root().join("content/blobs").join(algorithm))? {
                let Ok(digest) = format!("{algorithm}:{name}").parse::<Digest>() else { continue };
                if self.store().read(|db| images::has_blob(db, &digest))? {
                    continue;
                }
                let Some(_lock) = self.store().try_lock(&LockName::Document(digest.clone()))? else { continue };
                if !self.store().read(|db| images::has_blob(db, &digest))? {
                    self.store().remove_blob(&digest)?;
                }
            }
        }
        Ok(())
    }

    /// Empties a driver's trash, or waits until who does it has done it. Blocks.
    pub(crate) fn reap_all(&self, driver: &Driver) -> Result<()> {
        // Two would only get in each other's way.
        let _alone = self.store().lock_exclusive(&LockName::Reap(driver.name().to_owned()))?;
        if self.is_trash_held(driver.name())? {
            return Ok(());
        }
        while reap(driver, REAP_STEP)? {}
        Ok(())
    }

    /// Empties a driver's trash for about so long, unless somebody does already. Blocks.
    pub(crate) fn reap_for(&self, driver: &Driver, budget: Duration) -> Result<()> {
        match self.store().try_lock(&LockName::Reap(driver.name().to_owned()))? {
            Some(_alone) if !self.is_trash_held(driver.name())? => reap(driver, budget).map(drop),
            _ => Ok(()),
        }
    }

    /// Drivers that have a directory in the store.
    pub(crate) fn drivers_on_disk(&self) -> Result<Vec<String>> {
        names_in(&self.store().root().join("drivers"))
    }
}

/// True when something is left.
fn reap(driver: &Driver, budget: Duration) -> Result<bool> {
    driver.reap(budget).map_err(|source| Error::Storage { operation: "empty the trash", source })
}
