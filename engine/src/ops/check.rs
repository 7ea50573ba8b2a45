//! `system check`: rows against the disk, both ways, and every byte against its digest.

use std::collections::{BTreeMap, BTreeSet};

use mica_layer::{DiffId, Digest, Hasher};
use mica_storage_api::{CheckLevel, Flow, ObjectKind};
use mica_storage_loader::Driver;
use rusqlite::Connection;

use crate::ops::images::summaries;
use crate::storage::key;
use crate::store::images::{collect, digest, stack_of};
use crate::store::{Flush, layers};
use crate::{Engine, Error, Reference, Result};

/// How closely to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Compare names only; read no content.
    pub quick: bool,
    /// Rebuild what can be rebuilt and remove garbage.
    pub repair: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong with what, in a sentence.
    pub message: String,
    /// True when `repair` mended it.
    pub repaired: bool,
    /// True for left-overs that harm nothing.
    pub garbage: bool,
}

/// What `check` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Blobs looked at.
    pub blobs: u64,
    /// Layers looked at.
    pub layers: u64,
    /// Containers looked at.
    pub containers: u64,
    /// Everything that is wrong.
    pub damages: Vec<Damage>,
}

impl CheckReport {
    /// True when nothing is left that is wrong; garbage is not wrong.
    pub fn is_clean(&self) -> bool {
        self.damages.iter().all(|damage| damage.repaired || damage.garbage)
    }
}

impl Engine {
    /// Checks the store.
    pub async fn check(&self, options: CheckOptions) -> Result<CheckReport> {
        self.blocking(move |engine| {
            let mut check =
                Check { engine, options, users: engine.store().read(Users::read)?, report: CheckReport::default() };
            check.blobs()?;
            check.layers()?;
            for driver in engine.store().read(layers::drivers_in_use)? {
                match engine.driver(&driver) {
                    Ok(driver) => check.driver(&driver)?,
                    Err(error) => {
                        check.damage(format!("driver `{driver}` holds snapshots and cannot be opened: {error}"))
                    }
                }
            }
            check.containers()?;
            Ok(check.report)
        })
        .await
    }
}

/// Which images a damage hits.
#[derive(Debug)]
struct Users {
    /// Image names by the layers they need.
    by_layer: BTreeMap<DiffId, BTreeSet<String>>,
    /// Image names by their documents.
    by_document: BTreeMap<Digest, BTreeSet<String>>,
}

impl Users {
    fn read(db: &Connection) -> Result<Self> {
        let mut users = Self { by_layer: BTreeMap::new(), by_document: BTreeMap::new() };
        for image in summaries(db)? {
            let name = image.references.first().map_or_else(|| image.id.short().to_owned(), Reference::familiar);
            for layer in stack_of(db, &image.id)? {
                users.by_layer.entry(layer).or_default().insert(name.clone());
            }
            for document in image.manifest.iter().chain([&image.id]) {
                users.by_document.entry(document.clone()).or_default().insert(name.clone());
            }
        }
        Ok(users)
    }

    fn of(names: Option<&BTreeSet<String>>) -> String {
        match names {
            None => "no image needs it".to_owned(),
            Some(names) => {
                format!("hits {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

struct Check<'a> {
    engine: &'a Engine,
    options: CheckOptions,
    users: Users,
    report: CheckReport,
}

impl Check<'_> {
    fn damage(&mut self, message: String) {
        self.report.damages.push(Damage { message, repaired: false, garbage: false });
    }

    fn garbage(&mut self, message: String, repaired: bool) {
        self.report.damages.push(Damage { message, repaired, garbage: true });
    }

    /// Every blob that has a row is there and has its digest.
    fn blobs(&mut self) -> Result<()> {
        let store = self.engine.store();
        let rows: Vec<(Digest, u64)> = store.read(|db| {
            collect(db, "SELECT digest, size FROM blobs", [], |row| {
                Ok((digest(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            })
        })?;
        let layers: BTreeMap<Digest, DiffId> =
            store.read(layers::all_layers)?.into_iter().map(|layer| (layer.blob, layer.diff_id)).collect();
        for (digest, size) in rows {
            self.report.blobs += 1;
            let Some(fault) = self.fault_of(&digest, size)? else { continue };
            // A blob that another command removed meanwhile, row first, is no damage.
            let still =
                store.read(|db| collect(db, "SELECT 1 FROM blobs WHERE digest = ?1", [digest.as_str()], |_| Ok(())))?;
            if !still.is_empty() {
                let users = layers
                    .get(&digest)
                    .map_or(self.users.by_document.get(&digest), |layer| self.users.by_layer.get(layer));
                let message = format!("blob `{digest}` {fault}; {}", Users::of(users));
                self.damage(message);
            }
        }
        Ok(())
    }

    fn fault_of(&self, digest: &Digest, size: u64) -> Result<Option<String>> {
        let path = self.engine.store().blob_path(digest);
        let mut file = match fs_err::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("is missing".to_owned())),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let found = file.metadata().map_err(Error::io("stat", &path))?.len();
        if found != size {
            return Ok(Some(format!("has {found} bytes instead of {size}")));
        }
        if self.options.quick {
            return Ok(None);
        }
        let mut hasher = Hasher::with(digest.algorithm());
        match std::io::copy(&mut file, &mut hasher) {
            Ok(_) if hasher.finish() == *digest => Ok(None),
            Ok(_) => Ok(Some("is damaged: its bytes have another digest".to_owned())),
            Err(error) => Ok(Some(format!("cannot be read: {error}"))),
        }
    }

    /// Every image's layers have rows.
    fn layers(&mut self) -> Result<()> {
        self.report.layers = self.engine.store().read(layers::all_layers)?.len() as u64;
        let orphans: Vec<(String, DiffId)> = self.engine.store().read(|db| {
            let sql = "SELECT image, diff_id FROM image_layers WHERE diff_id NOT IN (SELECT diff_id FROM layers)";
            collect(db, sql, [], |row| Ok((row.get(0)?, digest(row, 1).map(DiffId)?)))
        })?;
        for (image, layer) in orphans {
            self.damage(format!("image `{image}` needs layer `{}`, which has no row", layer.0));
        }
        Ok(())
    }

    /// The driver's directories and the rows of them, both ways.
    fn driver(&mut self, driver: &Driver) -> Result<()> {
        let storage = |source| Error::Storage { operation: "list snapshots", source };
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut writable: BTreeSet<String> = BTreeSet::new();
        let mut list = |kind, key: mica_storage_api::Key<'_>| {
            match kind {
                ObjectKind::Layer => found.insert(key.as_str().to_owned()),
                ObjectKind::Rw => writable.insert(key.as_str().to_owned()),
                ObjectKind::Stage => false,
            };
            Flow::Continue
        };
        // Rows first and directories second: what is made meanwhile has its directory before its row.
        let rows = self.engine.store().read(|db| layers::all_objects(db, driver.name()))?;
        driver.list(&mut list).map_err(storage)?;
        for row in rows {
            let level = if self.options.quick { CheckLevel::Present } else { CheckLevel::Deep };
            let fault = if row.broken {
                Some("is marked as damaged".to_owned())
            } else if !found.contains(&row.key) {
                Some("is missing".to_owned())
            } else {
                driver.check(ObjectKind::Layer, key(&row.key)?, level).err().map(|error| format!("is damaged: {error}"))
            };
            if let Some(fault) = fault {
                self.broken(driver, &row.key, &fault)?;
            }
        }
        let containers: BTreeSet<String> = self.engine.store().read(|db| {
            let sql = "SELECT id FROM containers WHERE driver = ?1";
            Ok(collect(db, sql, [driver.name()], |row| row.get(0))?.into_iter().collect())
        })?;
        for id in containers.difference(&writable) {
            self.damage(format!("container `{id}` has lost its writable layer on driver `{}`", driver.name()));
        }
        Ok(())
    }

    /// A damaged directory: the next use rebuilds it from its blobs, and `repair` is a use.
    fn broken(&mut self, driver: &Driver, key: &str, fault: &str) -> Result<()> {
        let store = self.engine.store();
        let sql = "SELECT chain_id, diff_id FROM snapshots WHERE driver = ?1 AND key = ?2";
        let chains: Vec<(String, DiffId)> = store
            .read(|db| collect(db, sql, [driver.name(), key], |row| Ok((row.get(0)?, digest(row, 1).map(DiffId)?))))?;
        // A directory that another command removed meanwhile, row first, is no damage.
        if store.read(|db| layers::object(db, driver.name(), key))?.is_none() {
            return Ok(());
        }
        let users = chains.iter().find_map(|(_, layer)| self.users.by_layer.get(layer));
        let message = format!("snapshot `{key}` of driver `{}` {fault}; {}", driver.name(), Users::of(users));
        let mut repaired = false;
        if self.options.repair {
            store.write(Flush::Now, |db| layers::set_broken(db, driver.name(), key))?;
            let wanted: BTreeSet<String> = chains.into_iter().map(|(chain, _)| chain).collect();
            let images = store.read(|db| {
                let all = collect(db, "SELECT id FROM images", [], |row| digest(row, 0))?;
                all.iter().map(|image| stack_of(db, image)).collect::<Result<Vec<_>>>()
            })?;
            // Chains of images that pass through the damaged one.
            repaired = true;
            for stack in images {
                let passes = mica_layer::ChainId::chain(&stack).iter().any(|chain| wanted.contains(chain.0.as_str()));
                repaired &= !passes || self.engine.chain_on(driver, &stack).is_ok();
            }
        }
        self.report.damages.push(Damage { message, repaired, garbage: false });
        Ok(())
    }

    /// Every container's directory is there; a directory without a row is left over.
    fn containers(&mut self) -> Result<()> {
        let store = self.engine.store();
        let rows: BTreeSet<String> =
            store.read(|db| collect(db, "SELECT id FROM containers", [], |row| row.get(0)))?.into_iter().collect();
        self.report.containers = rows.len() as u64;
        let directory = store.root().join("containers");
        let entries = fs_err::read_dir(&directory).map_err(Error::io("list", &directory))?;
        let found: BTreeSet<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        for id in rows.difference(&found) {
            self.damage(format!("container `{id}` has lost its directory"));
        }
        for id in found.difference(&rows) {
            self.garbage(
                format!("directory of container `{id}` belongs to no container; `mica system prune` clears it"),
                false,
            );
        }
        Ok(())
    }
}
