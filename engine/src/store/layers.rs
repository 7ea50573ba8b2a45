//! Rows of layers, of drivers' directories (objects) and of the chains they make up (snapshots).
//!
//! An object holds one layer, or on drivers that snapshot whole trees everything up to a layer. A snapshot row names the
//! object on top of a chain and the snapshot below, so objects are shared by all chains that fit them.

use mica_layer::{ChainId, DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::images::{collect, parsed};
use crate::{Error, Result};

/// A layer's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerRow {
    pub(crate) diff_id: DiffId,
    pub(crate) blob: Digest,
    pub(crate) blob_size: u64,
    /// Bytes of file content.
    pub(crate) size: u64,
}

/// A driver's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectRow {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) broken: bool,
}

/// A chain on a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub(crate) chain_id: ChainId,
    pub(crate) parent: Option<ChainId>,
    pub(crate) diff_id: DiffId,
    pub(crate) key: String,
    /// True when the object holds the whole chain.
    pub(crate) linear: bool,
}

/// Everything a transaction records about layers that have just been made.
#[derive(Debug, Default)]
pub(crate) struct NewRows {
    pub(crate) layers: Vec<LayerRow>,
    pub(crate) objects: Vec<ObjectRow>,
    /// Bottom first.
    pub(crate) snapshots: Vec<SnapshotRow>,
    /// Further blobs of layers that have one: the same archive in another compression, which a manifest lists.
    pub(crate) forms: Vec<LayerRow>,
}

/// The keys of a chain, top first; nothing when the driver does not hold all of it.
pub(crate) fn chain_keys(db: &Connection, driver: &str, chain_id: &ChainId) -> Result<Option<Vec<String>>> {
    let rows: Vec<(String, bool)> = collect(
        db,
        "WITH RECURSIVE chain (parent, key, depth) AS (
             SELECT parent, key, 0 FROM snapshots WHERE driver = ?1 AND chain_id = ?2
             UNION ALL
             SELECT s.parent, s.key, depth + 1 FROM chain JOIN snapshots s ON s.driver = ?1 AND s.chain_id = chain.parent
         )
         SELECT chain.key, objects.broken FROM chain JOIN objects ON objects.driver = ?1 AND objects.key = chain.key
         ORDER BY depth",
        params![driver, chain_id.0.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let whole = !rows.is_empty() && rows.iter().all(|(_, broken)| !broken);
    Ok(whole.then(|| rows.into_iter().map(|(key, _)| key).collect()))
}

/// A layer.
pub(crate) fn layer(db: &Connection, diff_id: &DiffId) -> Result<Option<LayerRow>> {
    db.prepare_cached("SELECT diff_id, blob, blobs.size, layers.size FROM layers JOIN blobs ON blobs.digest = blob WHERE diff_id = ?1")
        .and_then(|mut statement| statement.query_row([diff_id.0.as_str()], layer_row).optional())
        .map_err(Error::database("look up a layer"))
}

/// How many bytes a blob has, when it has a row.
pub(crate) fn blob_size(db: &Connection, blob: &Digest) -> Result<Option<u64>> {
    db.prepare_cached("SELECT size FROM blobs WHERE digest = ?1")
        .and_then(|mut statement| statement.query_row([blob.as_str()], |row| row.get::<_, i64>(0)).optional())
        .map(|size| size.map(i64::unsigned_abs))
        .map_err(Error::database("look up a blob"))
}

/// Every layer.
pub(crate) fn all_layers(db: &Connection) -> Result<Vec<LayerRow>> {
    collect(
        db,
        "SELECT diff_id, blob, blobs.size, layers.size FROM layers JOIN blobs ON blobs.digest = blob",
        [],
        layer_row,
    )
}

/// A driver's directory.
pub(crate) fn object(db: &Connection, driver: &str, key: &str) -> Result<Option<ObjectRow>> {
    db.prepare_cached("SELECT key, bytes, broken FROM objects WHERE driver = ?1 AND key = ?2")
        .and_then(|mut statement| statement.query_row([driver, key], object_row).optional())
        .map_err(Error::database("look up a snapshot"))
}

/// Every directory of a driver.
pub(crate) fn all_objects(db: &Connection, driver: &str) -> Result<Vec<ObjectRow>> {
    collect(db, "SELECT key, bytes, broken FROM objects WHERE driver = ?1", [driver], object_row)
}

/// Drivers that hold anything, those with most chains first.
pub(crate) fn drivers_in_use(db: &Connection) -> Result<Vec<String>> {
    collect(
        db,
        "SELECT driver FROM (SELECT driver, count(*) AS n FROM snapshots GROUP BY driver
                             UNION ALL SELECT driver, count(*) FROM containers GROUP BY driver)
         GROUP BY driver ORDER BY sum(n) DESC, driver",
        [],
        |row| row.get(0),
    )
}

/// Marks a directory as damaged, so that the next use rebuilds it from blobs.
pub(crate) fn set_broken(db: &Transaction<'_>, driver: &str, key: &str) -> Result<()> {
    db.execute("UPDATE objects SET broken = 1 WHERE driver = ?1 AND key = ?2", [driver, key])
        .map(drop)
        .map_err(Error::database("mark a snapshot as damaged"))
}

/// What of new layers is on the disk. The rows of what is not name the boot it was written in.
#[derive(Debug, Clone)]
pub(crate) enum OnDisk {
    /// Everything.
    All,
    /// Blobs, and not what was unpacked from them in this boot.
    Blobs(String),
    /// Nothing that was written in this boot.
    Nothing(String),
}

impl OnDisk {
    fn boot_of_blobs(&self) -> Option<&str> {
        match self {
            Self::All | Self::Blobs(_) => None,
            Self::Nothing(boot) => Some(boot),
        }
    }

    fn boot_of_objects(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Blobs(boot) | Self::Nothing(boot) => Some(boot),
        }
    }
}

/// Records what has been made.
pub(crate) fn insert(db: &Transaction<'_>, driver: &str, rows: &NewRows, on_disk: &OnDisk) -> Result<()> {
    let fail = || Error::database("record a layer");
    for layer in &rows.forms {
        super::images::insert_blob(db, &layer.blob, layer.blob_size)?;
    }
    for layer in &rows.layers {
        super::images::insert_blob(db, &layer.blob, layer.blob_size)?;
        // A blob that is replaced was missing or torn.
        db.prepare_cached(
            "DELETE FROM manifest_blobs WHERE blob = (SELECT blob FROM layers WHERE diff_id = ?1 AND blob <> ?2)",
        )
        .and_then(|mut s| s.execute([layer.diff_id.0.as_str(), layer.blob.as_str()]))
        .map_err(fail())?;
        db.prepare_cached(
            "INSERT INTO layers (diff_id, blob, size, boot) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (diff_id) DO UPDATE SET blob = excluded.blob, size = excluded.size",
        )
        .and_then(|mut s| {
            s.execute(params![
                layer.diff_id.0.as_str(),
                layer.blob.as_str(),
                layer.size as i64,
                on_disk.boot_of_blobs()
            ])
        })
        .map_err(fail())?;
    }
    for object in &rows.objects {
        db.prepare_cached(
            "INSERT INTO objects (driver, key, bytes, boot) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (driver, key) DO UPDATE SET bytes = excluded.bytes, broken = 0, boot = excluded.boot",
        )
        .and_then(|mut s| s.execute(params![driver, object.key, object.bytes as i64, on_disk.boot_of_objects()]))
        .map_err(fail())?;
    }
    for row in &rows.snapshots {
        db.prepare_cached(
            "INSERT INTO snapshots (driver, chain_id, parent, diff_id, key, linear) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (driver, chain_id) DO UPDATE SET parent = excluded.parent, key = excluded.key",
        )
        .and_then(|mut s| {
            let parent = row.parent.as_ref().map(|parent| parent.0.as_str());
            s.execute(params![driver, row.chain_id.0.as_str(), parent, row.diff_id.0.as_str(), row.key, row.linear])
        })
        .map_err(fail())?;
    }
    Ok(())
}

/// Forgets layers that were written in another boot than this one and never flushed: their bytes may be missing after a power
/// cut. No image and no container needs them, because publishing an image flushes blobs. What was unpacked from a blob that is
/// there, and not flushed, is damaged for all that is known, and made again on next use.
pub(crate) fn forget_unflushed(db: &Transaction<'_>, boot: &str) -> Result<()> {
    let fail = || Error::database("forget what was not flushed");
    db.execute(
        "DELETE FROM build_cache WHERE EXISTS
         (SELECT 1 FROM json_each(build_cache.stack) JOIN layers ON diff_id = value WHERE boot IS NOT NULL AND boot <> ?1)",
        [boot],
    )
    .map_err(fail())?;
    // From the tops down, because a snapshot holds the one below it.
    while db
        .execute(
            "WITH RECURSIVE lost (driver, chain_id) AS (
                 SELECT s.driver, s.chain_id FROM snapshots s
                 WHERE EXISTS (SELECT 1 FROM layers l WHERE l.diff_id = s.diff_id AND l.boot IS NOT NULL AND l.boot <> ?1)
                 UNION
                 SELECT s.driver, s.chain_id FROM lost JOIN snapshots s ON s.driver = lost.driver AND s.parent = lost.chain_id
             )
             DELETE FROM snapshots WHERE (driver, chain_id) IN (SELECT driver, chain_id FROM lost)
             AND NOT EXISTS (SELECT 1 FROM snapshots child WHERE child.driver = snapshots.driver AND child.parent = snapshots.chain_id)",
            [boot],
        )
        .map_err(fail())?
        > 0
    {}
    db.execute(
        "DELETE FROM objects WHERE boot IS NOT NULL AND boot <> ?1
         AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.driver = objects.driver AND s.key = objects.key)",
        [boot],
    )
    .map_err(fail())?;
    db.execute("UPDATE objects SET broken = 1 WHERE boot IS NOT NULL AND boot <> ?1", [boot]).map_err(fail())?;
    let lost: Vec<String> = super::images::collect(
        db,
        "DELETE FROM layers WHERE boot IS NOT NULL AND boot <> ?1 RETURNING blob",
        [boot],
        |row| row.get(0),
    )?;
    for blob in lost {
        db.execute("DELETE FROM blobs WHERE digest = ?1", [blob]).map_err(fail())?;
    }
    Ok(())
}

/// The blobs of a stack that have not been flushed yet.
pub(crate) fn unflushed_blobs(db: &Connection, stack: &[DiffId]) -> Result<Vec<Digest>> {
    let mut found = Vec::new();
    for diff_id in stack {
        found.extend(collect(
            db,
            "SELECT blob FROM layers WHERE diff_id = ?1 AND boot IS NOT NULL",
            [diff_id.0.as_str()],
            |row| super::images::digest(row, 0),
        )?);
    }
    Ok(found)
}

/// True when a driver holds something that is not on the disk yet.
pub(crate) fn has_unflushed(db: &Connection, driver: &str) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM objects WHERE driver = ?1 AND boot IS NOT NULL AND NOT broken")
        .and_then(|mut statement| statement.exists([driver]))
        .map_err(Error::database("look for what was not flushed"))
}

/// Marks everything of a driver that is to be flushed now.
pub(crate) fn begin_flush(db: &Transaction<'_>, driver: &str, mark: &str) -> Result<()> {
    db.execute("UPDATE objects SET boot = ?2 WHERE driver = ?1 AND boot IS NOT NULL AND NOT broken", [driver, mark])
        .map(drop)
        .map_err(Error::database("record a flush"))
}

/// States that what was marked has been flushed.
pub(crate) fn end_flush(db: &Transaction<'_>, mark: &str) -> Result<()> {
    db.execute("UPDATE objects SET boot = NULL WHERE boot = ?1", [mark])
        .map(drop)
        .map_err(Error::database("record a flush"))
}

/// States how much of what a stack needs has been flushed.
pub(crate) fn mark_flushed(db: &Transaction<'_>, driver: &str, stack: &[DiffId], on_disk: &OnDisk) -> Result<()> {
    let fail = || Error::database("record a flush");
    for (diff_id, chain_id) in stack.iter().zip(ChainId::chain(stack)) {
        db.execute("UPDATE layers SET boot = NULL WHERE diff_id = ?1 AND boot IS NOT NULL", [diff_id.0.as_str()])
            .map_err(fail())?;
        if !matches!(on_disk, OnDisk::All) {
            continue;
        }
        db.execute(
            "UPDATE objects SET boot = NULL WHERE boot IS NOT NULL AND driver = ?1
             AND key = (SELECT key FROM snapshots WHERE driver = ?1 AND chain_id = ?2)",
            [driver, chain_id.0.as_str()],
        )
        .map_err(fail())?;
    }
    Ok(())
}

fn layer_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<LayerRow> {
    Ok(LayerRow {
        diff_id: parsed(row, 0)?,
        blob: parsed(row, 1)?,
        blob_size: row.get::<_, i64>(2)?.unsigned_abs(),
        size: row.get::<_, i64>(3)?.unsigned_abs(),
    })
}

fn object_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ObjectRow> {
    Ok(ObjectRow { key: row.get(0)?, bytes: row.get::<_, i64>(1)?.unsigned_abs(), broken: row.get(2)? })
}
