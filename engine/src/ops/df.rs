//! `system df`: what the store holds, from kept figures.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rusqlite::Connection;

use crate::container::ContainerRecord;
use crate::ops::ps::PsRequest;
use crate::store::images::collect;
use crate::{Engine, Error, Result};

/// Figures of one kind of object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageLine {
    /// How many there are.
    pub total: u64,
    /// How many are in use.
    pub active: u64,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes that would come back if everything unused went.
    pub reclaimable: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images with their layers, unpacked and as blobs.
    pub images: UsageLine,
    /// Writable layers of containers.
    pub containers: UsageLine,
    /// Volumes.
    pub volumes: UsageLine,
    /// Build cache entries.
    pub build_cache: UsageLine,
}

impl Engine {
    /// What the store holds. Images and cache come from kept figures; a container's writable layer is asked of its driver.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let mut usage = self.blocking(|engine| engine.store().read(from_rows)).await?;
        for container in self.ps(PsRequest { all: true, ..PsRequest::default() }).await? {
            let size = self.rw_usage(&container.record.driver, &container.record.id).await.unwrap_or_default().bytes;
            let line = &mut usage.containers;
            line.total += 1;
            line.size += size;
            if container.state.is_running() {
                line.active += 1;
            } else {
                line.reclaimable += size;
            }
        }
        usage.volumes = self.blocking(volumes).await?;
        Ok(usage)
    }
}

fn from_rows(db: &Connection) -> Result<DiskUsage> {
    let one = |sql: &str| -> Result<u64> {
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(Error::database("add sizes up"))
    };
    // What a layer costs: its archive, and its tree with each driver that holds it.
    let images = UsageLine {
        total: one("SELECT count(*) FROM images")?,
        active: one("SELECT count(DISTINCT image) FROM containers")?,
        size: one("SELECT coalesce(sum(size), 0) FROM blobs")? + one("SELECT coalesce(sum(bytes), 0) FROM objects")?,
        reclaimable: one(&format!(
            "{UNUSED_LAYERS} SELECT coalesce(sum(size), 0) FROM blobs WHERE digest IN (SELECT blob FROM layers WHERE diff_id IN unused)"
        ))? + one(&format!(
            "{UNUSED_LAYERS} SELECT coalesce(sum(bytes), 0) FROM objects WHERE (driver, key) IN (SELECT driver, key FROM snapshots WHERE diff_id IN unused)"
        ))?,
    };
    let entries = one("SELECT count(*) FROM build_cache")?;
    // A cache entry names layers of images and holds no bytes of its own.
    let build_cache = UsageLine { total: entries, ..UsageLine::default() };
    Ok(DiskUsage { images, build_cache, ..DiskUsage::default() })
}

/// Layers that no image with a container needs.
const UNUSED_LAYERS: &str = "WITH unused AS (SELECT diff_id FROM layers WHERE diff_id NOT IN
    (SELECT diff_id FROM image_layers WHERE image IN (SELECT image FROM containers)))";

/// Named and anonymous volumes; in use is what a container's record names.
fn volumes(engine: &Engine) -> Result<UsageLine> {
    let used: BTreeSet<String> = engine
        .store()
        .read(|db| collect(db, "SELECT record FROM containers", [], |row| row.get::<_, String>(0)))?
        .iter()
        .filter_map(|record| serde_json::from_str::<ContainerRecord>(record).ok())
        .flat_map(|record| record.volumes)
        .map(|volume| volume.name)
        .collect();
    let directory = engine.store().root().join("volumes");
    let mut line = UsageLine::default();
    for entry in fs_err::read_dir(&directory).map_err(Error::io("list", &directory))?.flatten() {
        let size = tree_bytes(&entry.path());
        line.total += 1;
        line.size += size;
        if used.contains(entry.file_name().to_string_lossy().as_ref()) {
            line.active += 1;
        } else {
            line.reclaimable += size;
        }
    }
    Ok(line)
}

/// Bytes on disk below a directory. What vanishes or cannot be read meanwhile counts nothing.
fn tree_bytes(path: &Path) -> u64 {
    let Ok(meta) = fs_err::symlink_metadata(path) else { return 0 };
    let own = meta.blocks() * 512;
    if !meta.is_dir() {
        return own;
    }
    let children = fs_err::read_dir(path).into_iter().flatten().flatten();
    own + children.map(|child| tree_bytes(&child.path())).sum::<u64>()
}
