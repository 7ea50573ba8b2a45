//! The database by itself: its pages, and the references between rows. What is lost of rows is found again in bytes.

use mica_layer::{DiffId, Digest, Unpack};
use rusqlite::Connection;

use super::Check;
use super::known::{ChainRow, Known, chains, hits};
use crate::store::images::{self, collect, digest};
use crate::store::{Flush, layers, manifests};
use crate::{Engine, Error, Kind, Reference, Result};

impl Check<'_> {
    pub(super) fn rows(&mut self) -> Result<()> {
        self.pages()?;
        self.documents()?;
        self.layers()?;
        self.objects()?;
        self.names()?;
        if self.options.repair {
            self.known = self.engine.store().read(Known::read)?;
        }
        Ok(())
    }

    fn pages(&mut self) -> Result<()> {
        let pragma = if self.options.quick { "PRAGMA quick_check(5)" } else { "PRAGMA integrity_check(5)" };
        let said: Vec<String> = self.engine.store().read(|db| collect(db, pragma, [], |row| row.get(0)))?;
        for line in said.into_iter().filter(|line| line != "ok") {
            self.damage(format!("the metadata database is damaged: {line}"), Vec::new());
        }
        Ok(())
    }

    /// Blobs that rows name and that have no row: sound ones get it back.
    fn documents(&mut self) -> Result<()> {
        let sql = "SELECT id, NULL FROM images WHERE id NOT IN (SELECT digest FROM blobs)
                   UNION SELECT digest, NULL FROM manifests WHERE digest NOT IN (SELECT digest FROM blobs)
                   UNION SELECT blob, NULL FROM manifest_blobs WHERE blob NOT IN (SELECT digest FROM blobs)
                   AND blob NOT IN (SELECT blob FROM layers)
                   UNION SELECT blob, diff_id FROM layers WHERE blob NOT IN (SELECT digest FROM blobs)";
        let store = self.engine.store();
        let lost: Vec<(Digest, Option<DiffId>)> = store.read(|db| {
            collect(db, sql, [], |row| {
                let layer = row.get::<_, Option<String>>(1)?.map(|_| digest(row, 1)).transpose()?;
                Ok((digest(row, 0)?, layer.map(DiffId)))
            })
        })?;
        for (blob, layer) in lost {
            let size = fs_err::metadata(store.blob_path(&blob)).map_or(0, |found| found.len());
            let images = layer.map_or_else(|| self.known.of_document(&blob), |layer| self.known.of_layer(&layer));
            self.damage(format!("blob `{blob}` has lost its row; {}", hits(&images)), images);
            if self.options.repair && self.engine.blob_fault(&blob, size, false)?.is_none() {
                store.write(Flush::Now, |db| images::insert_blob(db, &blob, size))?;
                self.mended();
            }
        }
        Ok(())
    }

    /// Layers that images name and that have no row: the blob is looked for, by the diff ID and in the image's manifest.
    fn layers(&mut self) -> Result<()> {
        let sql = "SELECT DISTINCT image, position, diff_id FROM image_layers
                   WHERE diff_id NOT IN (SELECT diff_id FROM layers)";
        let store = self.engine.store();
        let lost: Vec<(Digest, usize, DiffId)> = store.read(|db| {
            collect(db, sql, [], |row| {
                Ok((digest(row, 0)?, row.get::<_, u32>(1)? as usize, digest(row, 2).map(DiffId)?))
            })
        })?;
        for (image, position, layer) in lost {
            let users = self.known.of_layer(&layer);
            self.damage(format!("layer `{layer}` has lost its row; {}", hits(&users)), users);
            if self.options.repair {
                if self.engine.find_layer(&image, position, &layer)? {
                    self.mended();
                } else {
                    self.remedy("its blob is gone too: load the image again".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Rows of drivers that lead nowhere. Without them the layers are unpacked again.
    fn objects(&mut self) -> Result<()> {
        let store = self.engine.store();
        let rows = store.read(chains)?;
        let ids: std::collections::BTreeSet<(&String, &mica_layer::ChainId)> =
            rows.iter().map(|row| (&row.driver, &row.chain_id)).collect();
        let cut =
            rows.iter().filter(|row| row.parent.as_ref().is_some_and(|parent| !ids.contains(&(&row.driver, parent))));
        for row in cut {
            let users = self.known.of_layer(&row.diff_id);
            let (driver, chain) = (&row.driver, &row.chain_id.0);
            self.damage(
                format!("chain `{chain}` of driver `{driver}` has lost the row of the chain below; {}", hits(&users)),
                users,
            );
            if self.options.repair {
                store.write(Flush::Now, |db| forget_chain(db, row))?;
                self.rebuild_through(&row.driver, std::slice::from_ref(&row.chain_id))?;
            }
        }
        let orphans: Vec<(String, String)> = store.read(|db| {
            let sql = "SELECT DISTINCT driver, key FROM snapshots s
                       WHERE NOT EXISTS (SELECT 1 FROM objects o WHERE o.driver = s.driver AND o.key = s.key)";
            collect(db, sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        })?;
        for (driver, key) in orphans {
            let of: Vec<&ChainRow> = rows.iter().filter(|row| row.driver == driver && row.key == key).collect();
            let users = of.first().map(|row| self.known.of_layer(&row.diff_id)).unwrap_or_default();
            self.damage(format!("snapshot `{key}` of driver `{driver}` has lost its row; {}", hits(&users)), users);
            if self.options.repair {
                let sql = "INSERT OR IGNORE INTO objects (driver, key, bytes, broken) VALUES (?1, ?2, 0, 1)";
                store.write(Flush::Now, |db| {
                    db.execute(sql, [&driver, &key]).map(drop).map_err(Error::database("record a snapshot"))
                })?;
                let chains: Vec<_> = of.iter().map(|row| row.chain_id.clone()).collect();
                self.rebuild_through(&driver, &chains)?;
            }
        }
        self.needed_chains()
    }

    /// Chains that containers stand on and that have no row.
    fn needed_chains(&mut self) -> Result<()> {
        let sql = "SELECT name, driver, json_extract(record, '$.diff_ids') FROM containers c WHERE chain_id IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.driver = c.driver AND s.chain_id = c.chain_id)";
        let lost: Vec<(String, String, String)> =
            self.engine.store().read(|db| collect(db, sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))?;
        for (name, driver, stack) in lost {
            self.damage(
                format!("container `{name}` stands on layers that have no row on driver `{driver}`"),
                Vec::new(),
            );
            let stack: Vec<DiffId> = serde_json::from_str(&stack).unwrap_or_default();
            if self.options.repair
                && self.engine.driver(&driver).and_then(|driver| self.engine.chain_on(&driver, &stack)).is_ok()
            {
                self.mended();
            }
        }
        Ok(())
    }

    /// Names of images that are gone.
    fn names(&mut self) -> Result<()> {
        let sql = "SELECT reference FROM tags WHERE image NOT IN (SELECT id FROM images)";
        let store = self.engine.store();
        for name in store.read(|db| collect(db, sql, [], |row| row.get::<_, String>(0)))? {
            let shown = Reference::parse_name(&name).map_or_else(|_| name.clone(), |name| name.familiar());
            self.damage(format!("the name `{shown}` leads to an image that has no row"), vec![shown]);
            self.remedy("load or build the image again; `mica rmi` takes the name away".to_owned());
        }
        Ok(())
    }

    /// Says that the last damage has been mended.
    pub(super) fn mended(&mut self) {
        if let Some(damage) = self.report.damages.last_mut() {
            damage.repaired = true;
        }
    }

    /// Says what to do about the last damage.
    pub(super) fn remedy(&mut self, remedy: String) {
        if let Some(damage) = self.report.damages.last_mut() {
            damage.remedy = Some(remedy);
        }
    }

    /// Unpacks again what passes through some chains, and tells whether that worked.
    fn rebuild_through(&mut self, driver: &str, chains: &[mica_layer::ChainId]) -> Result<()> {
        let driver = self.engine.driver(driver)?;
        if self.engine.rebuild(&self.known, &driver, chains).is_ok() {
            self.mended();
        }
        Ok(())
    }
}

impl Engine {
    /// Gives a layer its row back when a blob is found that holds it.
    fn find_layer(&self, image: &Digest, position: usize, layer: &DiffId) -> Result<bool> {
        let mut candidates = vec![layer.0.clone()];
        for manifest in self.store().read(|db| manifests::of_image(db, image))? {
            let Ok(bytes) = self.store().read_document(&manifest) else { continue };
            let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(&bytes) else { continue };
            candidates
                .extend(manifest["layers"][position]["digest"].as_str().and_then(|text| text.parse::<Digest>().ok()));
        }
        for blob in candidates {
            let mut file = match self.store().open_blob(&blob) {
                Ok(file) => file,
                Err(error) if error.kind() == Kind::Corrupt => continue,
                Err(error) => return Err(error),
            };
            let mut request = Unpack::new(&mut file);
            request.expected_digest = Some(blob.clone());
            request.expected_diff_id = Some(layer.clone());
            let Ok(found) = mica_layer::unpack::unpack(request) else { continue };
            // The content's size is not known without applying it, and about the archive's.
            let row =
                layers::LayerRow { diff_id: layer.clone(), blob, blob_size: found.blob_size, size: found.diff_size };
            let rows = layers::NewRows { layers: vec![row], ..layers::NewRows::default() };
            self.store().write(Flush::Now, |db| layers::insert(db, "", &rows, &layers::OnDisk::All))?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Forgets a chain and all that stand on it; what they are made of stays.
fn forget_chain(db: &Connection, row: &ChainRow) -> Result<()> {
    db.execute_batch("PRAGMA defer_foreign_keys = ON").map_err(Error::database("forget a chain"))?;
    db.execute(
        "WITH RECURSIVE lost (chain_id) AS (
             SELECT ?2 UNION SELECT s.chain_id FROM lost JOIN snapshots s ON s.driver = ?1 AND s.parent = lost.chain_id
         )
         DELETE FROM snapshots WHERE driver = ?1 AND chain_id IN (SELECT chain_id FROM lost)
         AND NOT EXISTS (SELECT 1 FROM containers c WHERE c.driver = ?1 AND c.chain_id = snapshots.chain_id)",
        [row.driver.as_str(), row.chain_id.0.as_str()],
    )
    .map(drop)
    .map_err(Error::database("forget a chain"))
}
