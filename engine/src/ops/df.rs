//! `system df`: what the store holds, in sums and object by object, from kept figures.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mica_layer::DiffId;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::measure::Writer;
use crate::ops::images::{ImageSummary, summaries};
use crate::ops::ps::{ContainerSummary, PsRequest};
use crate::store::containers::{self, Holding};
use crate::store::images::collect;
use crate::store::names_in;
use crate::{Engine, Error, Kind, Result, parallel};

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

/// What the store holds, object by object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DiskDetails {
    /// Images, youngest first.
    pub images: Vec<ImageUsage>,
    /// Containers with their sizes, newest first.
    pub containers: Vec<ContainerSummary>,
    /// Volumes, by name.
    pub volumes: Vec<VolumeUsage>,
    /// Build cache entries, the last used first.
    pub build_cache: Vec<CacheUsage>,
}

/// An image and how much of it is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// The image.
    pub summary: ImageSummary,
    /// Bytes of file content in layers that other images have too.
    pub shared: u64,
    /// Bytes in layers that no other image has.
    pub unique: u64,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// How many containers use it.
    pub links: u64,
    /// Bytes on disk.
    pub size: u64,
}

/// A build cache entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUsage {
    /// The step's key.
    pub id: String,
    /// Bytes of file content in the layer it led to.
    pub size: u64,
    /// When it was last used, in seconds since 1970.
    pub used: i64,
}

impl Engine {
    /// What the store holds.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        self.blocking(move |engine| {
            let (mut usage, holdings) = engine.store().read(|db| Ok((from_rows(db)?, containers::holdings(db)?)))?;
            let running = engine.running()?;
            let writers: Vec<Writer<'_>> = holdings
                .iter()
                .map(|Holding { id, driver, .. }| Writer { id, driver, running: running.contains(id) })
                .collect();
            for (writer, written) in writers.iter().zip(engine.written(&writers)?) {
                usage.containers.add(written.bytes, writer.running);
            }
            let mounted = holdings.iter().flat_map(|holding| &holding.volumes).map(|volume| volume.name.as_str());
            for volume in engine.volume_usages(mounted)? {
                usage.volumes.add(volume.size, volume.links > 0);
            }
            Ok(usage)
        })
        .await
    }

    /// What the store holds, object by object.
    pub async fn disk_details(&self) -> Result<DiskDetails> {
        self.blocking(move |engine| {
            let request = PsRequest { all: true, ..PsRequest::default() };
            // Most of the one is in files, and most of the other in rows.
            let (containers, rows) = parallel::both(
                || engine.list(&request),
                || engine.store().read(|db| Ok::<_, Error>((image_usages(db)?, cache_usages(db)?))),
            );
            let (mut containers, (images, build_cache)) = (containers?, rows?);
            let below = images.iter().map(|image| (image.summary.id.clone(), image.summary.size)).collect();
            engine.fill_sizes(&mut containers, &below)?;
            let mounted = containers.iter().flat_map(|container| &container.record.volumes);
            let volumes = engine.volume_usages(mounted.map(|volume| volume.name.as_str()))?;
            Ok(DiskDetails { images, containers, volumes, build_cache })
        })
        .await
    }

    /// The containers that run. Only those that have a directory for what vanishes at a reboot can, so a thousand others need
    /// no look.
    fn running(&self) -> Result<BTreeSet<String>> {
        let mut running = BTreeSet::new();
        for id in names_in(&self.store().run_root().join("containers"))? {
            let record = match self.store().find_container(&id) {
                Ok(record) => record,
                Err(error) if error.kind() == Kind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if self.state_of(&record)?.is_running() {
                running.insert(record.id);
            }
        }
        Ok(running)
    }

    fn volume_usages<'a>(&self, mounted: impl Iterator<Item = &'a str>) -> Result<Vec<VolumeUsage>> {
        let mut links: BTreeMap<&str, u64> = BTreeMap::new();
        for volume in mounted {
            *links.entry(volume).or_default() += 1;
        }
        let mut names = names_in(&self.store().root().join("volumes"))?;
        names.sort();
        let held = self.held(&names)?;
        let volume = |(name, usage): (String, crate::storage::Usage)| {
            let links = links.get(name.as_str()).copied().unwrap_or_default();
            VolumeUsage { name, links, size: usage.bytes }
        };
        Ok(names.into_iter().zip(held).map(volume).collect())
    }
}

impl UsageLine {
    fn add(&mut self, size: u64, in_use: bool) {
        self.total += 1;
        self.size += size;
        if in_use {
            self.active += 1;
        } else {
            self.reclaimable += size;
        }
    }
}

fn from_rows(db: &Connection) -> Result<DiskUsage> {
    let one = |sql: &str| -> Result<u64> {
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(Error::database("add sizes up"))
    };
    let used: HashSet<String> =
        collect(db, "SELECT DISTINCT image FROM containers", [], |row| row.get(0))?.into_iter().collect();
    // What a layer costs: its archive, and its tree with each driver that holds it.
    let images = UsageLine {
        total: one("SELECT count(*) FROM images")?,
        active: used.len() as u64,
        size: one("SELECT coalesce(sum(size), 0) FROM blobs")? + one("SELECT coalesce(sum(bytes), 0) FROM objects")?,
        reclaimable: unused(db, &used)?,
    };
    let entries = one("SELECT count(*) FROM build_cache")?;
    // A cache entry names layers of images and holds no bytes of its own.
    let build_cache = UsageLine { total: entries, ..UsageLine::default() };
    Ok(DiskUsage { images, build_cache, ..DiskUsage::default() })
}

/// Bytes of layers that no image with a container needs. The tables are gone through side by side, in the order they have
/// anyway: SQL would look each of the layers up in turn, or sort them all, and take five times as long.
fn unused(db: &Connection, used: &HashSet<String>) -> Result<u64> {
    let (mut layers, mut blobs) = (HashSet::new(), HashSet::new());
    let fail = Error::database("add sizes up");
    let found = (|| -> rusqlite::Result<()> {
        let mut all = db.prepare_cached("SELECT diff_id, blob FROM layers ORDER BY diff_id")?;
        let mut all = all.query([])?;
        let mut of_images = db.prepare_cached("SELECT diff_id, image FROM image_layers ORDER BY diff_id")?;
        let mut of_images = of_images.query([])?;
        let mut next = of_images.next()?;
        while let Some(row) = all.next()? {
            let layer = text(row, 0)?;
            let mut is_used = false;
            while let Some(user) = next {
                match text(user, 0)?.cmp(layer) {
                    Ordering::Greater => break,
                    Ordering::Equal => is_used |= used.contains(text(user, 1)?),
                    Ordering::Less => {}
                }
                next = of_images.next()?;
            }
            if !is_used {
                layers.insert(layer.to_owned());
                blobs.insert(text(row, 1)?.to_owned());
            }
        }
        Ok(())
    })();
    found.map_err(fail)?;
    if layers.is_empty() {
        return Ok(0);
    }
    each(db, "SELECT diff_id, blob FROM manifest_blobs", |row| {
        if layers.contains(text(row, 0)?) {
            blobs.insert(text(row, 1)?.to_owned());
        }
        Ok(())
    })?;
    let mut objects: HashSet<(String, String)> = HashSet::new();
    let mut bytes = 0;
    each(db, "SELECT digest, size FROM blobs", |row| {
        if blobs.contains(text(row, 0)?) {
            bytes += row.get::<_, i64>(1)?.unsigned_abs();
        }
        Ok(())
    })?;
    each(db, "SELECT diff_id, driver, key FROM snapshots", |row| {
        if layers.contains(text(row, 0)?) {
            objects.insert((row.get(1)?, row.get(2)?));
        }
        Ok(())
    })?;
    each(db, "SELECT driver, key, bytes FROM objects", |row| {
        if objects.contains(&(row.get(0)?, row.get(1)?)) {
            bytes += row.get::<_, i64>(2)?.unsigned_abs();
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Bytes of every image in layers that other images have too, by one walk of the index: SQL would look every layer up again.
fn shared(db: &Connection) -> Result<HashMap<String, u64>> {
    let size_of = |layer: &str| -> rusqlite::Result<u64> {
        let mut statement = db.prepare_cached("SELECT size FROM layers WHERE diff_id = ?1")?;
        let size = statement.query_row([layer], |row| row.get::<_, i64>(0)).optional()?;
        Ok(size.unwrap_or_default().unsigned_abs())
    };
    let mut shared: HashMap<String, u64> = HashMap::new();
    let (mut layer, mut first, mut last) = (String::new(), String::new(), String::new());
    // Of a layer that is shared; nothing before its second image.
    let mut size = None;
    each(db, "SELECT diff_id, image FROM image_layers ORDER BY diff_id, image", |row| {
        let (found, image) = (text(row, 0)?, text(row, 1)?);
        if found != layer {
            put(&mut layer, found);
            put(&mut first, image);
            put(&mut last, image);
            size = None;
        } else if image != last {
            let size = match size {
                Some(size) => size,
                None => {
                    let found = size_of(&layer)?;
                    *shared.entry(first.clone()).or_default() += found;
                    *size.insert(found)
                }
            };
            *shared.entry(image.to_owned()).or_default() += size;
            put(&mut last, image);
        }
        Ok(())
    })?;
    Ok(shared)
}

fn put(to: &mut String, text: &str) {
    to.clear();
    to.push_str(text);
}

/// Runs a query for what is done with its rows.
fn each(db: &Connection, sql: &str, work: impl FnMut(&Row<'_>) -> rusqlite::Result<()>) -> Result<()> {
    collect(db, sql, [], work).map(drop)
}

/// A text column, in place.
fn text<'row>(row: &'row Row<'_>, index: usize) -> rusqlite::Result<&'row str> {
    Ok(row.get_ref(index)?.as_str()?)
}

fn image_usages(db: &Connection) -> Result<Vec<ImageUsage>> {
    let shared = shared(db)?;
    let usage = |summary: ImageSummary| {
        let shared = shared.get(summary.id.as_str()).copied().unwrap_or_default();
        ImageUsage { unique: summary.size.saturating_sub(shared), shared, summary }
    };
    Ok(summaries(db)?.into_iter().map(usage).collect())
}

fn cache_usages(db: &Connection) -> Result<Vec<CacheUsage>> {
    let size_of = |layer: &DiffId| -> rusqlite::Result<Option<u64>> {
        let mut statement = db.prepare_cached("SELECT size FROM layers WHERE diff_id = ?1")?;
        let size = statement.query_row([layer.0.as_str()], |row| row.get::<_, i64>(0)).optional()?;
        Ok(size.map(i64::unsigned_abs))
    };
    collect(db, "SELECT key, stack, used FROM build_cache ORDER BY used DESC, key", [], |row| {
        let stack: Vec<DiffId> = serde_json::from_str(&row.get::<_, String>(1)?).unwrap_or_default();
        let size = stack.last().map(size_of).transpose()?.flatten().unwrap_or_default();
        Ok(CacheUsage { id: row.get(0)?, size, used: row.get(2)? })
    })
}
