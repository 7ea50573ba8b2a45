//! The sweep: whatever no image, container or cached build step needs loses its row, and then its bytes.
//!
//! Needed are the chains that images and containers name, with everything below them, and the layers of those. A thing that
//! somebody else holds locked is left for the next sweep. The locks are taken before the transaction, which looks again, and
//! kept until the bytes are gone: whoever waits for one of them finds neither row nor bytes.

use std::collections::{BTreeMap, BTreeSet};

use mica_layer::{ChainId, DiffId, Digest};
use rusqlite::{Connection, Transaction, params};

use super::images::{collect, parsed};
use super::locks::{Lock, LockName};
use super::{Flush, Store, manifests};
use crate::{Error, Kind, Result};

/// What lost its row, with the locks that keep its name from being used again before its bytes are gone.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Chains on drivers.
    pub(crate) chains: Vec<(String, ChainId)>,
    /// Directories of drivers, with what they occupied.
    pub(crate) objects: Vec<(String, String, u64)>,
    /// Blobs with their sizes.
    pub(crate) blobs: Vec<(Digest, u64)>,
    /// Keys of cached build steps.
    pub(crate) steps: Vec<String>,
    /// True when the disk had no room for all the locks: sweeping again, once the bytes are gone, finds more.
    pub(crate) partial: bool,
    _locks: Vec<Lock>,
}

impl Swept {
    /// Takes over what a later sweep took; its locks are let go.
    pub(crate) fn absorb(&mut self, later: Swept) {
        self.chains.extend(later.chains);
        self.objects.extend(later.objects);
        self.blobs.extend(later.blobs);
        self.steps.extend(later.steps);
    }

    /// True when nothing was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.objects.is_empty() && self.blobs.is_empty()
    }

    /// Bytes that come back.
    pub(crate) fn bytes(&self) -> u64 {
        self.objects.iter().map(|(_, _, bytes)| bytes).sum::<u64>()
            + self.blobs.iter().map(|(_, size)| size).sum::<u64>()
    }
}

/// Chains that images, cached steps of existing images and containers name, with all below them.
const NEEDED: &str = "
WITH RECURSIVE needed (driver, chain_id) AS (
    SELECT driver, chain_id FROM snapshots s WHERE
        EXISTS (SELECT 1 FROM images i WHERE i.chain_id = s.chain_id)
        OR EXISTS (SELECT 1 FROM containers c WHERE c.driver = s.driver AND c.chain_id = s.chain_id)
        OR (NOT s.linear AND s.chain_id IN (SELECT b.chain_id FROM build_cache b JOIN build_cache_owners o ON o.key = b.key))
    UNION
    SELECT s.driver, s.parent FROM needed n JOIN snapshots s ON s.driver = n.driver AND s.chain_id = n.chain_id
    WHERE s.parent IS NOT NULL
)";

/// A layer is needed by images, by snapshots, by containers (to commit them) and by cached steps of existing images.
const UNNEEDED_LAYER: &str = "
NOT EXISTS (SELECT 1 FROM image_layers i WHERE i.diff_id = layers.diff_id)
AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.diff_id = layers.diff_id)
AND diff_id NOT IN (SELECT value FROM containers, json_each(containers.record, '$.diff_ids'))
AND diff_id NOT IN (SELECT value FROM build_cache b, json_each(b.stack) WHERE EXISTS (SELECT 1 FROM build_cache_owners o WHERE o.key = b.key))";

const UNNEEDED_BLOB: &str = "
NOT EXISTS (SELECT 1 FROM layers l WHERE l.blob = blobs.digest)
AND NOT EXISTS (SELECT 1 FROM images i WHERE i.id = blobs.digest)
AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.digest = blobs.digest)
AND NOT EXISTS (SELECT 1 FROM manifest_blobs b WHERE b.blob = blobs.digest)
AND NOT EXISTS (SELECT 1 FROM indexes x WHERE x.digest = blobs.digest)";

/// An index is needed by the tags that came from it and by the images that are known by its digest.
const UNNEEDED_INDEX: &str = "
NOT EXISTS (SELECT 1 FROM tags t WHERE t.idx = indexes.digest)
AND NOT EXISTS (SELECT 1 FROM digests d WHERE d.digest = indexes.digest)";

impl Store {
    /// Takes the rows away of everything that nobody needs. The caller removes the bytes, then drops what is returned.
    pub(crate) fn sweep(&self) -> Result<Swept> {
        let candidates = self.read(find)?;
        let mut held: BTreeMap<LockName, Lock> = BTreeMap::new();
        let mut partial = false;
        for name in candidates.names() {
            match self.try_lock(&name) {
                Ok(Some(lock)) => drop(held.insert(name, lock)),
                Ok(None) => {}
                // A full disk must not keep anybody from making room on it.
                Err(error) if error.kind() == Kind::NoSpace && !held.is_empty() => {
                    partial = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let mut swept = self.write(Flush::Now, |db| take(db, &candidates, &|name| held.contains_key(name)))?;
        swept.partial = partial;
        swept._locks = held.into_values().collect();
        Ok(swept)
    }
}

/// What seems to be needed by nobody.
#[derive(Debug, Default)]
struct Candidates {
    /// Tops before what lies below them.
    chains: Vec<(String, ChainId)>,
    /// What goes with each of those chains, so that locks for a few of them are of use.
    units: Vec<[LockName; 3]>,
    objects: Vec<(String, String)>,
    layers: Vec<DiffId>,
    blobs: Vec<Digest>,
}

impl Candidates {
    fn names(&self) -> Vec<LockName> {
        let objects = self.objects.iter().map(|(driver, key)| LockName::Object(driver.clone(), key.clone()));
        let layers = self.layers.iter().cloned().map(LockName::Layer);
        let blobs = self.blobs.iter().cloned().map(LockName::Document);
        let mut seen = BTreeSet::new();
        let units = self.units.iter().flatten().cloned();
        // A process that finds a lock taken takes it for somebody else's, even when it is its own.
        units.chain(layers).chain(objects).chain(blobs).filter(|name| seen.insert(name.clone())).collect()
    }
}

fn find(db: &Connection) -> Result<Candidates> {
    // Depth from the bottom, so that the order is children first.
    let mut chains: Vec<(String, ChainId, Option<ChainId>, String, DiffId)> = collect(
        db,
        &format!(
            "{NEEDED} SELECT driver, chain_id, parent, key, diff_id FROM snapshots s
             WHERE NOT EXISTS (SELECT 1 FROM needed n WHERE n.driver = s.driver AND n.chain_id = s.chain_id)"
        ),
        [],
        |row| {
            let parent = row.get_ref(2)?;
            let parent = if parent == rusqlite::types::ValueRef::Null { None } else { Some(parsed(row, 2)?) };
            Ok((row.get(0)?, parsed(row, 1)?, parent, row.get(3)?, parsed(row, 4)?))
        },
    )?;
    let mut candidates = Candidates {
        objects: collect(
            db,
            "SELECT driver, key FROM objects o WHERE NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.driver = o.driver AND s.key = o.key)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?,
        layers: collect(db, &format!("SELECT diff_id FROM layers WHERE {UNNEEDED_LAYER}"), [], |row| parsed(row, 0))?,
        blobs: collect(
            db,
            &format!(
                "SELECT digest FROM blobs WHERE {UNNEEDED_BLOB}
                 UNION SELECT digest FROM indexes WHERE {UNNEEDED_INDEX}"
            ),
            [],
            |row| parsed(row, 0),
        )?,
        chains: Vec::new(),
        units: Vec::new(),
    };
    let loose = manifests::loose(db)?;
    candidates.blobs.extend(loose.documents);
    for (layer, blob) in loose.layers {
        candidates.layers.push(layer);
        candidates.blobs.push(blob);
    }
    // What goes with those chains is looked at again in the transaction; here it only has to be locked.
    for (driver, _, _, key, diff_id) in &chains {
        candidates.objects.push((driver.clone(), key.clone()));
        candidates.layers.push(diff_id.clone());
    }
    while !chains.is_empty() {
        let is_parent = |driver: &String, chain_id: &ChainId| {
            chains.iter().any(|(d, _, parent, _, _)| d == driver && parent.as_ref() == Some(chain_id))
        };
        let (inner, leaves): (Vec<_>, Vec<_>) =
            chains.iter().cloned().partition(|(driver, chain_id, ..)| is_parent(driver, chain_id));
        if leaves.is_empty() {
            break;
        }
        for (driver, chain_id, _, key, diff_id) in leaves {
            candidates.units.push([
                LockName::Layer(diff_id),
                LockName::Object(driver.clone(), key),
                LockName::Chain(driver.clone(), chain_id.clone()),
            ]);
            candidates.chains.push((driver, chain_id));
        }
        chains = inner;
    }
    Ok(candidates)
}

fn take(db: &Transaction<'_>, candidates: &Candidates, held: &dyn Fn(&LockName) -> bool) -> Result<Swept> {
    let fail = || Error::database("sweep");
    let mut swept = Swept { steps: take_steps(db)?, ..Swept::default() };
    for (driver, chain_id) in &candidates.chains {
        if !held(&LockName::Chain(driver.clone(), chain_id.clone())) {
            continue;
        }
        // The same rule as NEEDED for one chain whose children have been dealt with.
        let gone = db
            .prepare_cached(
                "DELETE FROM snapshots WHERE driver = ?1 AND chain_id = ?2
                 AND NOT EXISTS (SELECT 1 FROM snapshots child WHERE child.driver = ?1 AND child.parent = ?2)
                 AND NOT EXISTS (SELECT 1 FROM images WHERE chain_id = ?2)
                 AND NOT EXISTS (SELECT 1 FROM containers WHERE driver = ?1 AND chain_id = ?2)
                 AND (linear OR ?2 NOT IN (SELECT b.chain_id FROM build_cache b JOIN build_cache_owners o ON o.key = b.key
                                           WHERE b.chain_id IS NOT NULL))",
            )
            .and_then(|mut statement| statement.execute(params![driver, chain_id.0.as_str()]))
            .map_err(fail())?;
        if gone > 0 {
            swept.chains.push((driver.clone(), chain_id.clone()));
        }
    }
    for (driver, key) in &candidates.objects {
        if !held(&LockName::Object(driver.clone(), key.clone())) {
            continue;
        }
        let gone: Vec<i64> = collect(
            db,
            "DELETE FROM objects WHERE driver = ?1 AND key = ?2
             AND NOT EXISTS (SELECT 1 FROM snapshots WHERE driver = ?1 AND key = ?2) RETURNING bytes",
            params![driver, key],
            |row| row.get(0),
        )?;
        swept.objects.extend(gone.into_iter().map(|bytes| (driver.clone(), key.clone(), bytes.unsigned_abs())));
    }
    db.execute(&format!("DELETE FROM indexes WHERE {UNNEEDED_INDEX}"), []).map_err(fail())?;
    manifests::take_unneeded(db)?;
    let mut blobs: Vec<Digest> =
        candidates.blobs.iter().filter(|digest| held(&LockName::Document((*digest).clone()))).cloned().collect();
    for diff_id in &candidates.layers {
        if !held(&LockName::Layer(diff_id.clone())) {
            continue;
        }
        let sql = format!("DELETE FROM layers WHERE diff_id = ?1 AND {UNNEEDED_LAYER} RETURNING blob");
        blobs.extend(collect(db, &sql, [diff_id.0.as_str()], |row| parsed::<Digest>(row, 0))?);
    }
    for diff_id in &candidates.layers {
        let Some(row) = super::layers::layer(db, diff_id)? else { continue };
        // Whoever holds the layer reads that blob, and whoever holds the blob is about to say that a manifest lists it.
        if held(&LockName::Layer(diff_id.clone())) && held(&LockName::Document(row.blob)) {
            manifests::prefer_listed(db, diff_id)?;
        }
    }
    for digest in blobs {
        let sql = format!("DELETE FROM blobs WHERE digest = ?1 AND {UNNEEDED_BLOB} RETURNING size");
        let gone: Vec<i64> = collect(db, &sql, [digest.as_str()], |row| row.get(0))?;
        swept.blobs.extend(gone.into_iter().map(|size| (digest.clone(), size.unsigned_abs())));
    }
    db.execute(
        "DELETE FROM blob_places WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE digest = blob)
         AND NOT EXISTS (SELECT 1 FROM packed WHERE packed.digest = blob)",
        [],
    )
    .map_err(fail())?;
    Ok(swept)
}

/// Cached steps whose images are all gone, or whose build never made one.
fn take_steps(db: &Transaction<'_>) -> Result<Vec<String>> {
    collect(
        db,
        "DELETE FROM build_cache WHERE NOT EXISTS (SELECT 1 FROM build_cache_owners o WHERE o.key = build_cache.key) RETURNING key",
        [],
        |row| row.get(0),
    )
}
