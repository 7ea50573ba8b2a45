//! Giving bytes back: what the sweep took the rows of, what dead commands left, and the drivers' trash.
//!
//! A directory or blob without a row is garbage by definition, unless the lock on its name says that somebody is making it. So
//! nothing here guesses by age.

use mica_layer::Digest;
use mica_storage_api::{Flow, ObjectKind};
use mica_storage_loader::Driver;

use super::reap::Patience;
use super::stage::remove;
use crate::store::images::{self, collect};
use crate::store::layers;
use crate::store::locks::LockName;
use crate::store::sweep::Swept;
use crate::store::{Flush, boot_id, names_in};
use crate::{Engine, Error, Result};

/// A blob that takes longer to unlink than to put aside.
const LARGE_BLOB: u64 = 64 << 20;

impl Engine {
    /// Takes away what nobody needs, rows first. Its bytes are free when this returns, or soon. Blocks.
    pub(crate) fn reclaim(&self, patience: Patience) -> Result<Swept> {
        self.store().make_room();
        let mut all = Swept::default();
        loop {
            let swept = self.store().sweep()?;
            // A disk too full for all the locks needs these bytes back before it takes more.
            let patience = if swept.partial { Patience::Wait } else { patience };
            self.remove_swept(&swept, patience)?;
            let more = swept.partial && !swept.is_empty();
            all.absorb(swept);
            if !more {
                break;
            }
        }
        self.store().compact()?;
        Ok(all)
    }

    fn remove_swept(&self, swept: &Swept, patience: Patience) -> Result<()> {
        let leave = patience == Patience::Leave && self.has_reaper();
        for (driver, key, _) in &swept.objects {
            // What cannot be removed now has no row any more, so the next collection takes it.
            if let Err(error) = self.driver(driver).and_then(|driver| remove(&driver, ObjectKind::Layer, key)) {
                tracing::warn!(driver, key, %error, "cannot remove a snapshot");
            }
        }
        let mut put_aside = false;
        for (digest, size) in &swept.blobs {
            let aside = leave && *size >= LARGE_BLOB;
            let removed = if aside { self.store().put_blob_aside(digest) } else { self.store().remove_blob(digest) };
            put_aside |= aside;
            if let Err(error) = removed {
                tracing::warn!(%digest, %error, "cannot remove a blob");
            }
        }
        if put_aside {
            self.start_reaper();
        }
        for driver in self.drivers_on_disk()? {
            match self.driver(&driver).and_then(|driver| self.reap_patiently(&driver, patience)) {
                Ok(()) => {}
                Err(error) => tracing::warn!(driver, %error, "cannot empty the driver's trash"),
            }
        }
        Ok(())
    }

    /// Takes away what has no row: what commands left that died. Blocks.
    pub(crate) fn collect_garbage(&self, patience: Patience) -> Result<()> {
        self.sweep_containers()?;
        for name in self.drivers_on_disk()? {
            match self.driver(&name) {
                Ok(driver) => {
                    self.collect_objects(&driver)?;
                    self.reap_patiently(&driver, patience)?;
                }
                Err(error) => tracing::warn!(driver = name, %error, "cannot look for left-overs"),
            }
        }
        self.collect_blobs()?;
        self.store().collect_ingests()?;
        self.store().collect_old_uploads()?;
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
        // The first command of a boot does not wait for what the last boot left to remove.
        self.collect_garbage(Patience::Leave)?;
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
        Ok(())
    }

    pub(crate) fn has_row(&self, driver: &str, kind: ObjectKind, name: &str) -> Result<bool> {
        self.store().read(|db| match kind {
            ObjectKind::Layer => Ok(layers::object(db, driver, name)?.is_some()),
            // One that is being moved has a tree on another driver too, and that is not the container's.
            ObjectKind::Rw => {
                let sql = "SELECT 1 FROM containers WHERE id = ?1 AND driver = ?2";
                Ok(!collect(db, sql, [name, driver], |_| Ok(()))?.is_empty())
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
}
