//! From a stack of layers to a chain on a driver: what is missing is unpacked, in parallel where the driver allows it.
//!
//! Three ways, by what the driver says of itself. **Independent** layers are unpacked at once and keyed by diff ID, so
//! that chains share them; one that presupposes what lies below (an implicit parent directory, a link into a lower layer)
//! is applied in order and keyed by chain ID. **Sequential** drivers stage each layer on its parents. **Linear** drivers
//! hold whole trees, so all missing layers go into one stage and only the top is published.
//!
//! Everything made here stays without a row until [`crate::store::layers::insert`]; until then the locks in
//! [`Materialised`] keep it from being taken for garbage.

use std::collections::BTreeSet;
use std::io::Read;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mica_layer::{ChainId, DiffId, Digest, ErrorKind, Unpack, Unpacked};
use mica_storage_api::{Caps, StageKind};
use mica_storage_loader::Driver;

use super::plan::{Plan, diff_key};
use super::stage::OpenStage;
use crate::download::Partial;
use crate::ops::load::LoadProgress;
use crate::store::Store;
use crate::store::content::Ingest;
use crate::store::layers::{LayerRow, NewRows, ObjectRow, SnapshotRow};
use crate::store::locks::{Lock, LockName};
use crate::{Engine, Error, Kind, Result};

/// Where the bytes of layers come from that the store does not have.
pub(crate) trait LayerSource: Sync {
    /// Says which layers will be opened, so that a source that takes time can begin with all of them; again for those that are
    /// wanted in a further form.
    fn expect(&self, _indexes: &BTreeSet<usize>) -> Result<()> {
        Ok(())
    }

    /// The blob of a layer that a manifest lists. One that the store does not have is taken in although the layer is there in
    /// another compression.
    fn listed(&self, _index: usize) -> Option<Digest> {
        None
    }

    /// The layer at `index` of the stack, bottom first.
    fn open(&self, index: usize) -> Result<LayerInput>;
}

/// A layer's bytes, compressed or not.
pub(crate) struct LayerInput {
    /// The bytes from the first on; reading may wait for those that are still on their way.
    pub(crate) bytes: Box<dyn Read + Send>,
    /// What becomes the layer's blob; `None` when it is one already.
    pub(crate) keep: Option<Keep>,
    /// What the bytes must be, as far as that was announced.
    pub(crate) expected: Option<Digest>,
    /// How many bytes there are.
    pub(crate) size: u64,
}

/// Bytes that become a blob once they have been verified.
#[derive(Debug)]
pub(crate) enum Keep {
    /// They are all there.
    Ingest(Ingest),
    /// They come from a registry, possibly still.
    Download(Arc<Partial>),
}

impl Keep {
    /// Lets the disk have the bytes, when they are all there.
    fn write_back(&self) -> Result<()> {
        match self {
            Self::Ingest(ingest) => ingest.write_back(),
            Self::Download(partial) => partial.write_back(),
        }
    }

    /// The bytes are of no use, or cannot be used any further.
    fn give_up(&self, error: &mica_layer::Error) {
        // A layer that cannot stand alone is read once more, on what lies below it.
        if matches!(error, mica_layer::Error::LinkTarget { .. }) {
            return;
        }
        if let Self::Download(partial) = self {
            partial.abandon();
            // A damaged stream shows before its digest does: what is wrong with the bytes themselves would be wrong again.
            if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidInput | ErrorKind::Unsupported) {
                partial.discard();
            }
        }
    }

    fn finish(self, store: &Store, digest: &Digest) -> Result<()> {
        match self {
            Self::Ingest(ingest) => ingest.finish(store, digest),
            Self::Download(partial) => partial.finish(store, digest),
        }
    }
}

/// No source: every layer must be in the store.
#[derive(Debug)]
pub(crate) struct Stored;

impl LayerSource for Stored {
    fn open(&self, index: usize) -> Result<LayerInput> {
        Err(Error::refused(Kind::Corrupt, format!("layer {index} of the image is missing from the store"))
            .with_hint("loading the image again brings it back"))
    }
}

/// What was made, and the locks that keep it.
#[derive(Debug)]
pub(crate) struct Materialised {
    pub(crate) rows: NewRows,
    _locks: Vec<Lock>,
}

/// One call's surroundings.
struct Work<'a> {
    engine: &'a Engine,
    driver: &'a Driver,
    stack: &'a [DiffId],
    source: &'a dyn LayerSource,
    progress: &'a dyn LoadProgress,
    /// Whether blobs go to the disk on their own, before the rest.
    blobs_first: bool,
    blobs: Mutex<Vec<Lock>>,
}

impl Engine {
    /// Makes what a stack lacks on a driver. Blocks.
    pub(crate) fn materialise(
        &self,
        driver: &Driver,
        stack: &[DiffId],
        source: &dyn LayerSource,
        progress: &dyn LoadProgress,
    ) -> Result<Materialised> {
        let plan = self.plan(driver, stack)?;
        let mut rows = NewRows::default();
        let blobs = self.make(driver, stack, &plan, source, progress, &mut rows)?;
        let mut locks = plan.locks;
        locks.extend(blobs);
        Ok(Materialised { rows, _locks: locks })
    }

    /// Carries out a plan; the locks that come back hold new blobs until they have their rows. Blocks.
    pub(crate) fn make(
        &self,
        driver: &Driver,
        stack: &[DiffId],
        plan: &Plan,
        source: &dyn LayerSource,
        progress: &dyn LoadProgress,
        rows: &mut NewRows,
    ) -> Result<Vec<Lock>> {
        let blobs_first = self.layers_may_wait()?;
        let work = Work { engine: self, driver, stack, source, progress, blobs_first, blobs: Mutex::default() };
        let missing: BTreeSet<usize> =
            (0..stack.len()).filter(|&index| !plan.layers.contains_key(&stack[index])).collect();
        let forms = work.missing_forms(plan)?;
        source.expect(&missing)?;
        let caps = driver.info().caps;
        if caps.contains(Caps::LINEAR_SNAPSHOT) {
            work.linear(plan, rows)?;
        } else {
            let made = if caps.contains(Caps::INDEPENDENT_LAYERS) { work.independent(plan, rows)? } else { Vec::new() };
            work.in_order(plan, &made, rows)?;
        }
        work.blobs_only(plan, rows)?;
        work.further_forms(&forms, rows)?;
        Ok(work.blobs.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Work<'_> {
    /// Unpacks all missing layers at once; yields the diff IDs whose object was made or found.
    fn independent(&self, plan: &Plan, rows: &mut NewRows) -> Result<Vec<DiffId>> {
        let mut todo: Vec<usize> = Vec::new();
        for index in plan.have..self.stack.len() {
            let diff_id = &self.stack[index];
            if !plan.objects.contains(diff_id) && !todo.iter().any(|&other| self.stack[other] == *diff_id) {
                todo.push(index);
            }
        }
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(todo.len());
        let worker = || {
            while let Some(&index) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.one_alone(plan, index);
                let failed = result.is_err();
                done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                if failed {
                    // The others finish what they have begun, and begin nothing.
                    next.store(todo.len(), Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(worker);
            }
            worker();
        });
        let mut made: Vec<DiffId> = plan.objects.iter().cloned().collect();
        for (index, result) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let alone = result?;
            rows.layers.extend(alone.layer);
            if let Some(object) = alone.object {
                rows.objects.push(object);
                made.push(self.stack[index].clone());
            }
        }
        Ok(made)
    }

    fn one_alone(&self, plan: &Plan, index: usize) -> Result<Alone> {
        let stage = self.engine.begin_stage(self.driver, StageKind::Layer, &[])?;
        let (unpacked, layer) = match self.apply(plan, index, &stage) {
            // A link into a layer below: it cannot stand alone.
            Err(Error::Layer { source: mica_layer::Error::LinkTarget { .. }, .. }) if index > 0 => {
                return Ok(Alone::default());
            }
            result => result?,
        };
        if !unpacked.applied.is_some_and(|applied| applied.independent) {
            return Ok(Alone { layer, object: None });
        }
        let key = diff_key(&self.stack[index]);
        let bytes = stage.commit_layer(&key, content(&unpacked))?;
        Ok(Alone { layer, object: Some(ObjectRow { key, bytes, broken: false }) })
    }

    /// Names every chain above what is there, applying what could not stand alone on its parents.
    fn in_order(&self, plan: &Plan, made: &[DiffId], rows: &mut NewRows) -> Result<()> {
        let chain_ids = ChainId::chain(self.stack);
        let mut keys = plan.base_keys.clone();
        for index in plan.have..self.stack.len() {
            let diff_id = &self.stack[index];
            let key = if made.contains(diff_id) {
                diff_key(diff_id)
            } else {
                let key = plan.chain_key(&chain_ids[index]);
                // A writable tree may have become this object already.
                if !rows.objects.iter().any(|object| object.key == key) {
                    self.on_parents(plan, index, &key, &keys, rows)?;
                }
                key
            };
            let parent = index.checked_sub(1).map(|below| chain_ids[below].clone());
            rows.snapshots.push(SnapshotRow {
                chain_id: chain_ids[index].clone(),
                parent,
                diff_id: diff_id.clone(),
                key: key.clone(),
                linear: false,
            });
            keys.insert(0, key);
        }
        Ok(())
    }

    fn on_parents(&self, plan: &Plan, index: usize, key: &str, parents: &[String], rows: &mut NewRows) -> Result<()> {
        let stage = self.engine.begin_stage(self.driver, StageKind::Layer, parents)?;
        // The first attempt, alone, may have kept the blob already.
        let kept = rows.layers.iter().find(|layer| layer.diff_id == self.stack[index]).cloned();
        let (unpacked, layer) = match &kept {
            Some(row) => (self.apply_blob(row, &stage)?, None),
            None => self.apply(plan, index, &stage)?,
        };
        let bytes = stage.commit_layer(key, content(&unpacked))?;
        rows.layers.extend(layer);
        rows.objects.push(ObjectRow { key: key.to_owned(), bytes, broken: false });
        Ok(())
    }

    /// Applies all missing layers to one tree.
    fn linear(&self, plan: &Plan, rows: &mut NewRows) -> Result<()> {
        if plan.have == self.stack.len() {
            return Ok(());
        }
        let (Some(top), Some(diff_id)) = (ChainId::of(self.stack), self.stack.last()) else { return Ok(()) };
        let key = plan.chain_key(&top);
        // A writable tree may have become this object already.
        if !rows.objects.iter().any(|object| object.key == key) {
            let stage = self.engine.begin_stage(self.driver, StageKind::Layer, &plan.base_keys)?;
            let mut bytes = 0;
            for index in plan.have..self.stack.len() {
                let kept = rows.layers.iter().find(|layer| layer.diff_id == self.stack[index]).cloned();
                let (unpacked, layer) = match &kept {
                    Some(row) => (self.apply_blob(row, &stage)?, None),
                    None => self.apply(plan, index, &stage)?,
                };
                bytes += content(&unpacked);
                rows.layers.extend(layer);
            }
            let bytes = stage.commit_layer(&key, bytes)?;
            rows.objects.push(ObjectRow { key: key.clone(), bytes, broken: false });
        }
        rows.snapshots.push(SnapshotRow { chain_id: top, parent: None, diff_id: diff_id.clone(), key, linear: true });
        Ok(())
    }

    /// Takes in blobs of layers that are unpacked already.
    fn blobs_only(&self, plan: &Plan, rows: &mut NewRows) -> Result<()> {
        for (index, diff_id) in self.stack.iter().enumerate() {
            if plan.layers.contains_key(diff_id) {
                self.progress.layer_end(diff_id);
            } else if !rows.layers.iter().any(|layer| layer.diff_id == *diff_id) {
                let input = self.source.open(index)?;
                let (_, layer) = self.unpack(diff_id, input, None)?;
                rows.layers.extend(layer);
            }
        }
        Ok(())
    }

    /// Layers that are there, or come, in another form than the one that is listed. What is there of it is held.
    fn missing_forms(&self, plan: &Plan) -> Result<BTreeSet<usize>> {
        let mut missing = BTreeSet::new();
        for (index, diff_id) in self.stack.iter().enumerate() {
            let Some(listed) = self.source.listed(index) else { continue };
            let first =
                self.stack.iter().position(|other| other == diff_id).and_then(|first| self.source.listed(first));
            if plan.layers.get(diff_id).map(|row| &row.blob).or(first.as_ref()) == Some(&listed) {
                continue;
            }
            let held = self.engine.store().lock_shared(&LockName::Document(listed.clone()))?;
            self.blobs.lock().unwrap_or_else(PoisonError::into_inner).push(held);
            if self.engine.form_of(diff_id, &listed)?.is_none() {
                missing.insert(index);
            }
        }
        Ok(missing)
    }

    /// Takes in what manifests list beside the blobs that layers have; each is verified as a layer is, by unpacking it to
    /// nowhere.
    fn further_forms(&self, indexes: &BTreeSet<usize>, rows: &mut NewRows) -> Result<()> {
        if indexes.is_empty() {
            return Ok(());
        }
        // Only now: an image that cannot be unpacked needs none of them.
        self.source.expect(indexes)?;
        for &index in indexes {
            let listed = self.source.listed(index);
            if rows.layers.iter().chain(&rows.forms).any(|row| Some(&row.blob) == listed.as_ref()) {
                continue;
            }
            let (_, form) = self.unpack(&self.stack[index], self.source.open(index)?, None)?;
            rows.forms.extend(form);
        }
        Ok(())
    }

    /// Applies one layer, from its blob or from the source; a row comes back when there was none.
    fn apply(&self, plan: &Plan, index: usize, stage: &OpenStage) -> Result<(Unpacked, Option<LayerRow>)> {
        let diff_id = &self.stack[index];
        match plan.layers.get(diff_id) {
            Some(row) => self.apply_blob(row, stage).map(|unpacked| (unpacked, None)),
            None => self.unpack(diff_id, self.source.open(index)?, Some(stage)),
        }
    }

    fn apply_blob(&self, row: &LayerRow, stage: &OpenStage) -> Result<Unpacked> {
        let bytes = Box::new(self.engine.store().open_blob(&row.blob)?);
        let input = LayerInput { bytes, keep: None, expected: Some(row.blob.clone()), size: row.blob_size };
        self.unpack(&row.diff_id, input, Some(stage)).map(|(unpacked, _)| unpacked)
    }

    fn unpack(
        &self,
        diff_id: &DiffId,
        input: LayerInput,
        stage: Option<&OpenStage>,
    ) -> Result<(Unpacked, Option<LayerRow>)> {
        self.progress.layer_begin(diff_id, input.size);
        let mut source = Counted { bytes: input.bytes, done: 0, told: 0, diff_id, progress: self.progress };
        let mut request = Unpack::new(&mut source);
        request.target = stage.map(OpenStage::target);
        request.expected_digest = input.expected;
        request.expected_size = Some(input.size);
        request.expected_diff_id = Some(diff_id.clone());
        let keep = input.keep.as_ref();
        let bounds = self.engine.options().layer_bounds;
        // What is in the store was admitted when it came.
        if keep.is_some() {
            request.max_uncompressed = Some(bounds.bytes_of(input.size));
            request.limits.max_entries = bounds.entries;
        }
        let blob = keep.filter(|_| self.blobs_first);
        // The disk takes the blob while the processor unpacks it, so that in the end nobody waits for much. It is not flushed
        // yet: a flush commits the journal, and whoever makes files meanwhile waits for that, layer after layer.
        let (unpacked, written) = std::thread::scope(|scope| {
            let writing = blob.map(|keep| scope.spawn(|| keep.write_back()));
            let unpacked = mica_layer::unpack::unpack(request);
            if let (Err(error), Some(keep)) = (&unpacked, keep) {
                keep.give_up(error);
            }
            (unpacked, writing.map_or(Ok(()), |writing| writing.join().unwrap_or_else(|panic| resume_unwind(panic))))
        });
        let unpacked = unpacked.map_err(|source| match source {
            mica_layer::Error::Limit { .. } => bounds.exceeded(&format!("layer `{diff_id}`"), &source),
            source => Error::Layer { operation: "unpack", layer: diff_id.to_string(), source },
        })?;
        written?;
        self.progress.layer_end(diff_id);
        let Some(keep) = input.keep else { return Ok((unpacked, None)) };
        let held = self.engine.store().lock_shared(&LockName::Document(unpacked.blob.clone()))?;
        keep.finish(self.engine.store(), &unpacked.blob)?;
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        let size = unpacked.applied.map_or(unpacked.diff_size, |applied| applied.bytes);
        let row =
            LayerRow { diff_id: diff_id.clone(), blob: unpacked.blob.clone(), blob_size: unpacked.blob_size, size };
        Ok((unpacked, Some(row)))
    }
}

/// Bytes of file content that were applied.
fn content(unpacked: &Unpacked) -> u64 {
    unpacked.applied.map_or(0, |applied| applied.bytes)
}

/// What came of a layer that was applied alone.
#[derive(Debug, Default)]
struct Alone {
    /// Its blob, if that was taken in.
    layer: Option<LayerRow>,
    /// Its object, if it can stand alone.
    object: Option<ObjectRow>,
}

/// A layer's bytes, telling how far they have been read.
struct Counted<'a> {
    bytes: Box<dyn Read + Send>,
    done: u64,
    told: u64,
    diff_id: &'a DiffId,
    progress: &'a dyn LoadProgress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        /// Often enough for a person, seldom enough to cost nothing.
        const STEP: u64 = 1 << 20;
        let count = self.bytes.read(buffer)?;
        self.done += count as u64;
        if self.done - self.told >= STEP {
            self.told = self.done;
            self.progress.layer_bytes(self.diff_id, self.done);
        }
        Ok(count)
    }
}
