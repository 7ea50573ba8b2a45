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

/// Records what has been made. `boot` marks it as not flushed yet.
pub(crate) fn insert(db: &Transaction<'_>, driver: &str, rows: &NewRows, boot: Option<&str>) -> Result<()> {
    let fail = || Error::database("record a layer");
    for layer in &rows.layers {
        super::images::insert_blob(db, &layer.blob, layer.blob_size)?;
        db.prepare_cached(
            "INSERT INTO layers (diff_id, blob, size, boot) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (diff_id) DO UPDATE SET blob = excluded.blob, size = excluded.size",
        )
        .and_then(|mut s| s.execute(params![layer.diff_id.0.as_str(), layer.blob.as_str(), layer.size as i64, boot]))
        .map_err(fail())?;
    }
    for object in &rows.objects {
        db.prepare_cached(
            "INSERT INTO objects (driver, key, bytes, boot) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (driver, key) DO UPDATE SET bytes = excluded.bytes, broken = 0, boot = excluded.boot",
        )
        .and_then(|mut s| s.execute(params![driver, object.key, object.bytes as i64, boot]))
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

/// Forgets what was written in another boot than this one and never flushed: its bytes may be missing after a power cut. No
/// image and no container needs it, because publishing an image flushes.
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
                 WHERE EXISTS (SELECT 1 FROM objects o WHERE o.driver = s.driver AND o.key = s.key AND o.boot IS NOT NULL AND o.boot <> ?1)
                    OR EXISTS (SELECT 1 FROM layers l WHERE l.diff_id = s.diff_id AND l.boot IS NOT NULL AND l.boot <> ?1)
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
    db.execute("DELETE FROM objects WHERE boot IS NOT NULL AND boot <> ?1", [boot]).map_err(fail())?;
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

/// States that everything a stack needs has been flushed.
pub(crate) fn mark_flushed(db: &Transaction<'_>, driver: &str, stack: &[DiffId]) -> Result<()> {
    let fail = || Error::database("record a flush");
    for (diff_id, chain_id) in stack.iter().zip(ChainId::chain(stack)) {
        db.execute("UPDATE layers SET boot = NULL WHERE diff_id = ?1 AND boot IS NOT NULL", [diff_id.0.as_str()])
            .map_err(fail())?;
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
