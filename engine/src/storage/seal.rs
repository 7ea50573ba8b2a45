//! From a writable tree to a layer: its changes become a blob, the tree itself the layer's snapshot where the driver can.

use std::io::{BufWriter, Write};
use std::os::fd::AsFd;

use mica_layer::{DiffId, Hasher, LayerStats, compare_trees, write_layer};
use mica_storage_api::{Caps, MountFlags, ObjectKind};
use mica_storage_loader::Driver;

use super::chain::{Chain, Sealed};
use super::materialise::Stored;
use super::plan::{Plan, diff_key};
use super::rw::{Changes, changes, mount};
use super::stage::remove;
use crate::ops::load::Silent;
use crate::store::content::Ingest;
use crate::store::layers::{self, LayerRow, NewRows, ObjectRow, OnDisk};
use crate::store::locks::LockName;
use crate::store::{Flush, boot_id};
use crate::{Engine, Error, Result};

/// What becomes of a writable tree that is sealed into a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It stays: `commit`.
    Keep,
    /// It turns into the layer where the driver can, and is gone in any case: build steps.
    Consume,
}

impl Engine {
    /// Writes what a writable tree has changed as a layer: its archive becomes a blob, its tree a snapshot.
    ///
    /// Nothing is flushed here. The rows say so, and publishing an image over the layer makes up for it.
    pub async fn rw_seal(&self, chain: &Chain, id: &str, source: Source) -> Result<Sealed> {
        let (driver, stack, keys, id) = (chain.driver.clone(), chain.stack.clone(), chain.keys.clone(), id.to_owned());
        self.blocking(move |engine| engine.seal(&driver, &stack, &keys, &id, source)).await
    }

    /// [`Engine::rw_seal`], blocking. The caller holds the chain.
    pub(crate) fn seal(
        &self,
        driver: &Driver,
        stack: &[DiffId],
        keys: &[String],
        id: &str,
        source: Source,
    ) -> Result<Sealed> {
        let archive = self.archive(driver, keys, id)?;
        let (diff_id, stats) = (archive.diff_id.clone(), archive.stats);
        let mut stack = stack.to_vec();
        stack.push(diff_id.clone());
        let mut plan = self.plan(driver, &stack)?;
        let mut rows = NewRows::default();
        let mut held = Vec::new();
        if !plan.layers.contains_key(&diff_id) {
            held.push(self.store().lock_shared(&LockName::Document(diff_id.0.clone()))?);
            let row = LayerRow {
                diff_id: diff_id.clone(),
                blob: diff_id.0.clone(),
                blob_size: stats.size,
                size: stats.bytes,
            };
            archive.ingest.finish(self.store(), &diff_id.0)?;
            rows.layers.push(row.clone());
            plan.layers.insert(diff_id.clone(), row);
        }
        if source == Source::Consume && driver.info().caps.contains(Caps::PROMOTE) && plan.have + 1 == stack.len() {
            self.promote(driver, &stack, (id, stats.bytes), &mut plan, &mut rows)?;
        }
        held.extend(self.make(driver, &stack, &plan, &Stored, &Silent, &mut rows)?);
        let on_disk = OnDisk::Nothing(boot_id()?);
        // The chain is held before it has rows and before the plan's locks go, so that no sweep comes between; its layers
        // after, because the plan may hold one of them against everybody, this process too.
        let mut chain = self.reserve_chain(driver, &stack)?;
        self.store().write(Flush::Later, |db| layers::insert(db, driver.name(), &rows, &on_disk))?;
        if !self.find_keys(&mut chain)? {
            return Err(super::layer_missing(&diff_id));
        }
        drop((plan, held));
        self.hold_layers(&mut chain)?;
        if source == Source::Consume {
            remove(driver, ObjectKind::Rw, id)?;
        }
        Ok(Sealed { diff_id, size: stats.bytes, chain })
    }

    /// Writes the topmost layer of a chain as an archive again, from what the driver shows of it. Blocks.
    pub(crate) fn archive_of(
        &self,
        driver: &Driver,
        keys: &[String],
        below: &[String],
    ) -> Result<(Ingest, DiffId, u64)> {
        let view = mount(driver, keys, None, MountFlags::READONLY)?;
        let below = if below.is_empty() { None } else { Some(mount(driver, below, None, MountFlags::READONLY)?) };
        let mut list = Vec::new();
        compare_trees(below.as_ref().map(AsFd::as_fd), view.as_fd(), &mut |change| list.push(change))
            .map_err(|source| Error::Layer { operation: "compare", layer: keys.concat(), source })?;
        let archive = self.write_archive(&Changes { list, content: view }, &keys.concat())?;
        Ok((archive.ingest, archive.diff_id, archive.stats.size))
    }

    fn archive(&self, driver: &Driver, keys: &[String], id: &str) -> Result<Archive> {
        self.write_archive(&changes(driver, keys, id)?, id)
    }

    fn write_archive(&self, changes: &Changes, id: &str) -> Result<Archive> {
        let mut ingest = self.store().ingest()?;
        let mut hasher = Hasher::new();
        let mut sink = Hashing { hasher: &mut hasher, sink: BufWriter::with_capacity(1 << 18, ingest.file()) };
        let fail = |source| Error::Layer { operation: "write", layer: id.to_owned(), source };
        let stats = write_layer(&changes.list, changes.content.as_fd(), &mut sink).map_err(fail)?;
        let flushed = sink.flush();
        drop(sink);
        flushed.map_err(Error::io("write", ingest.path()))?;
        Ok(Archive { ingest, diff_id: DiffId(hasher.finish()), stats })
    }

    /// Turns the tree, with so many bytes of content, into the layer's object, where nobody has made that yet.
    fn promote(
        &self,
        driver: &Driver,
        stack: &[DiffId],
        (id, content): (&str, u64),
        plan: &mut Plan,
        rows: &mut NewRows,
    ) -> Result<()> {
        let Some(diff_id) = stack.last() else { return Ok(()) };
        if plan.objects.contains(diff_id) {
            return Ok(());
        }
        // An upper directory holds every parent directory it needs, so what it becomes stands alone.
        let by_layer = driver.info().caps.contains(Caps::INDEPENDENT_LAYERS)
            && !driver.info().caps.contains(Caps::LINEAR_SNAPSHOT);
        let key = match mica_layer::ChainId::of(stack) {
            Some(chain_id) if !by_layer => plan.chain_key(&chain_id),
            _ => diff_key(diff_id),
        };
        let bytes = self.begin_promotion(driver, id, &plan.base_keys)?.commit_layer(&key, content)?;
        rows.objects.push(ObjectRow { key, bytes, broken: false });
        plan.objects.insert(diff_id.clone());
        Ok(())
    }
}

/// A layer's archive on its way into the store.
struct Archive {
    ingest: Ingest,
    diff_id: DiffId,
    stats: LayerStats,
}

/// Passes bytes on and computes their digest.
struct Hashing<'a, W> {
    hasher: &'a mut Hasher,
    sink: W,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}
