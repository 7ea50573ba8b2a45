//! What becomes of damage: layers are unpacked again from their blobs, blobs are written again from their layers.
//!
//! Each step leaves the store whole, and a repair that is cut off is done again from the beginning. A damaged object is
//! first marked, so that whoever needs it waits for its replacement, and then replaced. Containers that run on it keep the
//! one they have: it lies in the driver's trash, which is not emptied while they run.

use std::collections::{BTreeMap, BTreeSet};

use mica_layer::{ChainId, DiffId, Digest};
use mica_storage_api::Caps;
use mica_storage_loader::Driver;

use super::compare::{Fault, Task};
use super::known::{ChainRow, Known, chains, hits};
use super::{Check, Damage};
use crate::store::images::collect;
use crate::store::layers::{self, LayerRow};
use crate::store::locks::LockName;
use crate::store::{Flush, images, manifests};
use crate::{Engine, Error, Result};

impl Check<'_> {
    /// Tells of bad blobs, and writes those again whose layer is sound and gives the same bytes.
    pub(super) fn blob_damages(&mut self) -> Result<()> {
        let by_blob: BTreeMap<Digest, LayerRow> = self
            .engine
            .store()
            .read(layers::all_layers)?
            .into_iter()
            .map(|layer| (layer.blob.clone(), layer))
            .collect();
        for (blob, fault) in self.bad_blobs.clone() {
            // A blob that another command removed meanwhile, row first, is no damage.
            if !self.engine.store().read(|db| images::has_blob(db, &blob))? {
                continue;
            }
            let layer = by_blob.get(&blob);
            // Names of one image may have come with manifests that list other forms of a layer, so both are asked.
            let mut hit = BTreeSet::from_iter(self.known.of_document(&blob));
            hit.extend(layer.into_iter().flat_map(|layer| self.known.of_layer(&layer.diff_id)));
            let images = Vec::from_iter(hit);
            self.damage(format!("blob `{blob}` {fault}; {}", hits(&images)), images.clone());
            if !self.options.repair {
                continue;
            }
            match layer {
                Some(layer) => {
                    if self.engine.take_other_form(layer, &self.bad_blobs)?
                        || self.engine.write_again(&self.known, layer)?
                    {
                        self.bad_blobs.remove(&blob);
                        self.mended();
                    } else {
                        // Out of the way of the next load, which takes bytes in only where there are none.
                        self.engine.store().remove_blob(&blob)?;
                        self.remedy(bring_back(&images));
                    }
                }
                None if self.engine.drop_manifest(&blob)? => self.mended(),
                None => self.remedy(bring_back(&images)),
            }
        }
        Ok(())
    }

    /// Tells of bad chains, object by object, and rebuilds them.
    pub(super) fn chain_damages(&mut self, found: Vec<(ChainRow, Fault)>) -> Result<()> {
        let mut objects: BTreeMap<(String, String), (Vec<ChainRow>, Fault)> = BTreeMap::new();
        for (row, fault) in found {
            let name = (row.driver.clone(), row.key.clone());
            objects.entry(name).or_insert_with(|| (Vec::new(), fault)).0.push(row);
        }
        let mut damages = Vec::new();
        for ((driver, key), (rows, fault)) in objects {
            // A directory that another command removed meanwhile, row first, is no damage.
            if self.engine.store().read(|db| layers::object(db, &driver, &key))?.is_none() {
                continue;
            }
            let images: BTreeSet<String> = rows.iter().flat_map(|row| self.users_above(row)).collect();
            let images: Vec<String> = images.into_iter().collect();
            let message = format!("snapshot `{key}` of driver `{driver}` {fault}; {}", hits(&images));
            damages.push((
                driver,
                key,
                rows,
                Damage { message, images, repaired: false, garbage: false, remedy: None },
            ));
        }
        if self.options.repair {
            self.rebuild(&mut damages)?;
        }
        self.report.damages.extend(damages.into_iter().map(|(.., damage)| damage));
        Ok(())
    }

    /// The images that a chain's topmost layer is needed by.
    fn users_above(&self, row: &ChainRow) -> Vec<String> {
        self.known.of_layer(&row.diff_id)
    }

    fn rebuild(&mut self, damages: &mut [(String, String, Vec<ChainRow>, Damage)]) -> Result<()> {
        let drivers: BTreeSet<String> = damages.iter().map(|(driver, ..)| driver.clone()).collect();
        for name in drivers {
            let driver = self.engine.driver(&name)?;
            let own = || damages.iter().filter(|(driver, ..)| *driver == name);
            let keys: BTreeSet<String> = own().map(|(_, key, ..)| key.clone()).collect();
            let wanted: Vec<ChainId> = own().flat_map(|(.., rows, _)| rows).map(|row| row.chain_id.clone()).collect();
            let lost: BTreeSet<DiffId> = self.lost_layers(&wanted, own().flat_map(|(.., rows, _)| rows))?;
            let mut marked = keys.clone();
            marked.extend(self.engine.standing_on(&driver, &wanted)?);
            let blocked = !lost.is_empty();
            // What cannot be built again stays: damaged files are more than none.
            if !blocked {
                self.engine.hold_trash(&driver)?;
                self.engine
                    .store()
                    .write(Flush::Now, |db| marked.iter().try_for_each(|key| layers::set_broken(db, &name, key)))?;
            }
            let rebuilt = if blocked { Ok(()) } else { self.engine.rebuild(&self.known, &driver, &wanted) };
            let again: Vec<Task> = self
                .engine
                .store()
                .read(chains)?
                .into_iter()
                .filter(|row| row.driver == name && keys.contains(&row.key))
                .map(|row| Task::Chain(driver.clone(), row))
                .collect();
            let still: BTreeSet<String> = self.look_at(&again)?.chains.into_iter().map(|(row, _)| row.key).collect();
            for (_, key, _, damage) in damages.iter_mut().filter(|(driver, ..)| *driver == name) {
                damage.repaired = !blocked && !still.contains(key);
                if damage.repaired {
                    continue;
                }
                damage.remedy = Some(match &rebuilt {
                    Err(error) => format!("it cannot be unpacked again: {error}"),
                    Ok(()) => bring_back(&damage.images),
                });
            }
        }
        Ok(())
    }

    /// Layers without a sound blob that chains need, of those that are to be rebuilt.
    fn lost_layers<'a>(
        &self,
        wanted: &[ChainId],
        rows: impl Iterator<Item = &'a ChainRow>,
    ) -> Result<BTreeSet<DiffId>> {
        let mut needed: BTreeSet<DiffId> = rows.map(|row| row.diff_id.clone()).collect();
        for stack in &self.known.stacks {
            if ChainId::chain(stack).iter().any(|chain| wanted.contains(chain)) {
                needed.extend(stack.iter().cloned());
            }
        }
        let mut lost = BTreeSet::new();
        for diff_id in needed {
            let row = self.engine.store().read(|db| layers::layer(db, &diff_id))?;
            if row.is_none_or(|row| self.bad_blobs.contains_key(&row.blob)) {
                lost.insert(diff_id);
            }
        }
        Ok(lost)
    }
}

impl Engine {
    /// Unpacks everything again that passes through some chains. Blocks.
    pub(super) fn rebuild(&self, known: &Known, driver: &Driver, wanted: &[ChainId]) -> Result<()> {
        for stack in &known.stacks {
            if ChainId::chain(stack).iter().any(|chain| wanted.contains(chain)) {
                self.chain_on(driver, stack)?;
            }
        }
        Ok(())
    }

    /// Objects that were made of damaged ones: on a driver whose layers stand alone, those that were applied on parents.
    fn standing_on(&self, driver: &Driver, wanted: &[ChainId]) -> Result<BTreeSet<String>> {
        let alone = driver.info().caps.contains(Caps::INDEPENDENT_LAYERS);
        let mut keys = BTreeSet::new();
        for chain in wanted {
            let above: Vec<String> = self.store().read(|db| {
                collect(
                    db,
                    "WITH RECURSIVE above (chain_id, key) AS (
                         SELECT chain_id, key FROM snapshots WHERE driver = ?1 AND parent = ?2
                         UNION SELECT s.chain_id, s.key FROM above JOIN snapshots s ON s.driver = ?1 AND s.parent = above.chain_id
                     ) SELECT key FROM above",
                    [driver.name(), chain.0.as_str()],
                    |row| row.get(0),
                )
            })?;
            keys.extend(above.into_iter().filter(|key| !alone || key.starts_with("c-")));
        }
        Ok(keys)
    }

    /// Keeps another form of a layer in place of a damaged one; true when there is a sound one. What lists the damaged one goes
    /// out in another form from then on, unless it is pulled or loaded again.
    fn take_other_form(&self, layer: &LayerRow, bad: &BTreeMap<Digest, String>) -> Result<bool> {
        let forms = self.store().read(|db| manifests::forms_of_layer(db, &layer.diff_id))?;
        let Some(sound) = forms.into_iter().find(|form| *form != layer.blob && !bad.contains_key(form)) else {
            return Ok(false);
        };
        let fail = || Error::database("choose a layer's blob");
        self.store().write(Flush::Now, |db| {
            db.execute("UPDATE layers SET blob = ?2 WHERE diff_id = ?1", [layer.diff_id.0.as_str(), sound.as_str()])
                .map_err(fail())?;
            manifests::forget_blob(db, &layer.blob)?;
            db.execute("DELETE FROM blobs WHERE digest = ?1", [layer.blob.as_str()]).map(drop).map_err(fail())
        })?;
        self.store().remove_blob(&layer.blob)?;
        Ok(true)
    }

    /// Writes a layer's archive again from where it is unpacked; true when that gave the same bytes.
    fn write_again(&self, known: &Known, layer: &LayerRow) -> Result<bool> {
        let rows = self.store().read(chains)?;
        for row in rows.into_iter().filter(|row| row.diff_id == layer.diff_id && !row.broken) {
            let driver = self.driver(&row.driver)?;
            let parent = match (row.linear, known.stack_of(&row.chain_id)) {
                (false, _) => row.parent.clone(),
                (true, Some(stack)) => ChainId::of(&stack[..stack.len().saturating_sub(1)]),
                (true, None) => continue,
            };
            let hold = |chain: &ChainId| self.store().lock_shared(&LockName::Chain(row.driver.clone(), chain.clone()));
            let _held = (hold(&row.chain_id)?, parent.as_ref().map(hold).transpose()?);
            let keys = |chain: &ChainId| self.store().read(|db| layers::chain_keys(db, &row.driver, chain));
            let Some(own) = keys(&row.chain_id)? else { continue };
            let below = match &parent {
                None => Vec::new(),
                Some(parent) => match keys(parent)? {
                    Some(below) => below,
                    None => continue,
                },
            };
            let Ok((ingest, diff_id, size)) = self.archive_of(&driver, &own, &below) else { continue };
            if diff_id != layer.diff_id {
                continue;
            }
            let blob = diff_id.0.clone();
            let _document = self.store().lock_shared(&LockName::Document(blob.clone()))?;
            ingest.finish(self.store(), &blob)?;
            self.flush(&driver)?;
            // A layer that came compressed is kept as it is from now on: only its uncompressed bytes can be made again.
            self.store().write(Flush::Now, |db| {
                let fail = || Error::database("record a blob");
                images::insert_blob(db, &blob, size)?;
                db.execute("UPDATE layers SET blob = ?2 WHERE diff_id = ?1", [layer.diff_id.0.as_str(), blob.as_str()])
                    .map_err(fail())?;
                if blob != layer.blob {
                    manifests::forget_blob(db, &layer.blob)?;
                    db.execute("DELETE FROM blobs WHERE digest = ?1", [layer.blob.as_str()]).map_err(fail())?;
                }
                Ok(())
            })?;
            if blob != layer.blob {
                self.store().remove_blob(&layer.blob)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// An image whose manifest is damaged keeps its ID, its names and its layers, and loses the digest it came with; so does one
    /// whose manifest lists a damaged blob of a layer that has another one.
    fn drop_manifest(&self, blob: &Digest) -> Result<bool> {
        let fail = || Error::database("forget a manifest");
        let dropped = self.store().write(Flush::Now, |db| {
            let others: Vec<()> = collect(
                db,
                "SELECT 1 FROM images WHERE id = ?1 UNION SELECT 1 FROM layers WHERE blob = ?1",
                [blob.as_str()],
                |_| Ok(()),
            )?;
            if !others.is_empty() {
                return Ok(false);
            }
            manifests::forget_blob(db, blob)?;
            db.execute("DELETE FROM manifests WHERE digest = ?1", [blob.as_str()]).map_err(fail())?;
            db.execute("DELETE FROM blobs WHERE digest = ?1", [blob.as_str()]).map_err(fail())?;
            Ok(true)
        })?;
        if dropped {
            self.store().remove_blob(blob)?;
        }
        Ok(dropped)
    }
}

fn bring_back(images: &[String]) -> String {
    match images {
        [] => "nobody needs it: `mica system prune` takes it away".to_owned(),
        [name, ..] => {
            format!("`mica load -i ARCHIVE` of an archive with `{name}`, or building it again, brings it back")
        }
    }
}
