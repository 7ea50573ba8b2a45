//! The layers of an image that is being pulled, as a source for unpacking: each is read behind its download.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use mica_layer::{DiffId, Digest};

use super::{LayerState, PullProgress, Work, reuse};
use crate::download::{Downloads, Follow, Partial, Watch};
use crate::manifest::Descriptor;
use crate::ops::load::LoadProgress;
use crate::storage::materialise::{Keep, LayerInput, LayerSource};
use crate::{Engine, Error, Kind, Result};

/// What is downloaded for one image.
pub(super) struct Layers<'a> {
    engine: &'a Engine,
    work: &'a Work,
    stack: &'a [DiffId],
    /// Whether bytes of other layers may be used.
    reuses: bool,
    coming: Mutex<Coming>,
}

#[derive(Default)]
struct Coming {
    partials: BTreeMap<Digest, Arc<Partial>>,
    /// Some bytes came from other layers.
    reused: bool,
    // Dropped with the rest, which ends the connections.
    downloads: Option<Downloads>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(engine: &'a Engine, work: &'a Work, stack: &'a [DiffId], reuses: bool) -> Layers<'a> {
        Layers { engine, work, stack, reuses, coming: Mutex::default() }
    }

    /// True when some of the bytes were here, from an earlier pull or in other layers.
    pub(super) fn went_on(&self) -> bool {
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.reused || coming.partials.values().any(|partial| partial.found > 0)
    }

    /// Why bytes stopped coming, which says more than what their reader made of it.
    pub(super) fn failure(&self) -> Option<Error> {
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.partials.values().find_map(|partial| partial.take_failure())
    }

    /// Gives up what has come: the image is one that nobody wants.
    pub(super) fn discard(&self) {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing comes any more once this is dropped.
        coming.downloads = None;
        for partial in coming.partials.values() {
            partial.abandon();
            partial.discard();
        }
    }

    fn blob(&self, index: usize) -> &Descriptor {
        &self.work.manifest.layers[index]
    }

    fn tell(&self, diff_id: &DiffId, state: LayerState) {
        for (index, known) in self.stack.iter().enumerate() {
            if known == diff_id {
                self.work.progress.layer(&self.blob(index).digest, state);
            }
        }
    }
}

impl LayerSource for Layers<'_> {
    fn expect(&self, indexes: &BTreeSet<usize>) -> Result<()> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = coming.downloads.is_some();
        for index in 0..self.stack.len() {
            let state = if indexes.contains(&index) { LayerState::Waiting } else { LayerState::Exists };
            if !begun || state == LayerState::Waiting {
                self.work.progress.layer(&self.blob(index).digest, state);
            }
        }
        // An image may have a layer twice. Whoever waits for files takes them in the order of their names, so that no two
        // pulls wait for each other.
        let wanted: BTreeMap<&Digest, &Descriptor> =
            indexes.iter().map(|&index| (&self.blob(index).digest, self.blob(index))).collect();
        for (digest, blob) in wanted {
            coming.partials.insert(digest.clone(), Partial::open(self.engine.store(), blob)?);
        }
        let mut order: Vec<Arc<Partial>> = Vec::new();
        for &index in indexes {
            let partial = &coming.partials[&self.blob(index).digest];
            if !order.iter().any(|other| Arc::ptr_eq(other, partial)) {
                order.push(Arc::clone(partial));
            }
        }
        coming.reused |= self.reuses && reuse::fill(self.engine, self.work, &order);
        let watch = Arc::new(Seen(Arc::clone(&self.work.progress)));
        let from = (Arc::clone(&self.engine.options().registry), self.work.reference.clone());
        coming.downloads = Some(Downloads::start(&self.work.runtime, from, &order, watch));
        Ok(())
    }

    fn listed(&self, index: usize) -> Option<Digest> {
        Some(self.blob(index).digest.clone())
    }

    fn open(&self, index: usize) -> Result<LayerInput> {
        let blob = self.blob(index);
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let partial = coming.partials.get(&blob.digest).cloned().ok_or_else(|| {
            Error::refused(Kind::Internal, format!("layer `{}` is not being downloaded", blob.digest))
        })?;
        Ok(LayerInput {
            bytes: Box::new(Follow::new(Arc::clone(&partial))),
            keep: Some(Keep::Download(partial)),
            expected: Some(blob.digest.clone()),
            size: blob.size,
        })
    }
}

impl LoadProgress for Layers<'_> {
    fn layer_begin(&self, layer: &DiffId, size: u64) {
        self.tell(layer, LayerState::Extracting { done: 0, total: size });
    }

    fn layer_bytes(&self, layer: &DiffId, done: u64) {
        let total = self.stack.iter().position(|known| known == layer).map_or(0, |index| self.blob(index).size);
        self.tell(layer, LayerState::Extracting { done, total });
    }

    fn layer_end(&self, layer: &DiffId) {
        self.tell(layer, LayerState::Complete);
    }
}

/// Passes on what comes in.
struct Seen(Arc<dyn PullProgress>);

impl Watch for Seen {
    fn came(&self, partial: &Partial) {
        let (done, total) = (partial.total(), partial.blob.size);
        let state = if done == total { LayerState::Downloaded } else { LayerState::Downloading { done, total } };
        self.0.layer(&partial.blob.digest, state);
    }
}
