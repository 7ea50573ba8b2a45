//! How each blob of an image gets to the registry: it is there, it is taken over from next door, or it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use mica_layer::{DiffId, Digest, Packing};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::manifest::{is_plain, layer_type, new, read};
use super::send::{Form, Sent, stored_as};
use super::subject::Going;
use super::{PushOptions, PushProgress, PushState};
use crate::manifest::{Descriptor, Document, OCI_CONFIG};
use crate::storage::forms::FormOf;
use crate::store::Flush;
use crate::store::layers::LayerRow;
use crate::store::remote::{self, Packed};
use crate::{Engine, Error, Kind, Reference, Result};

/// Layers on their way at once.
const AT_ONCE: usize = 4;
/// Of how many repositories of a registry a blob is asked for.
const PLACES_MAX: usize = 3;
/// How often a blob is begun anew whose upload was lost.
const TRIES: u32 = 3;

/// Carries blobs of images to one repository.
#[derive(Debug, Clone)]
pub(super) struct Carrier(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) to: Reference,
    options: PushOptions,
    pub(super) progress: Arc<dyn PushProgress>,
    room: Semaphore,
}

/// A layer's blob as the manifest is to list it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Load {
    /// A blob that is known to the byte, and in the store unless the registry is believed to have it.
    Blob { blob: Box<Descriptor>, is_here: bool },
    /// What the layer is packed to, or what it was packed to before, for a manifest that lists that.
    Pack(Packing, Option<Box<Descriptor>>),
}

/// Where a blob that a manifest lists comes from.
#[derive(Debug)]
enum Whence {
    /// The store has it, as this row says.
    Here(LayerRow),
    /// Packing the layer makes it.
    Packing(Packing),
    /// Only the registry can have it.
    There,
}

/// Whether who watches hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl Carrier {
    pub(super) fn new(
        engine: &Engine,
        to: &Reference,
        options: &PushOptions,
        progress: Arc<dyn PushProgress>,
    ) -> Carrier {
        let (engine, to, options) = (engine.clone(), to.clone(), options.clone());
        Carrier(Arc::new(Inner { engine, to, options, progress, room: Semaphore::new(AT_ONCE) }))
    }

    pub(super) fn repository(&self) -> &Reference {
        &self.0.to
    }

    /// True when even what is compressed is compressed anew.
    pub(super) fn repacks_all(&self) -> bool {
        self.0.options.force
    }

    /// A manifest in the repository.
    pub(super) fn pinned(&self, manifest: &Digest) -> Result<Reference> {
        Reference::parse(&format!("{}@{manifest}", self.0.to.repository()))
    }

    /// The manifest an image came with, when all that it lists is here or at the registry.
    pub(super) async fn kept(&self, image: &Going) -> Result<Option<Document>> {
        let Some(document) = &image.manifest else { return Ok(None) };
        let manifest = read(document)?;
        if manifest.layers.len() != image.layers.len() || manifest.config.digest != image.id {
            return Ok(None);
        }
        for (layer, row) in manifest.layers.iter().zip(&image.layers) {
            let there = matches!(self.0.whence(image, row, &layer.digest).await?, Whence::There);
            if there && !self.0.reach(row, &layer.digest, Told::No).await? {
                return Ok(None);
            }
        }
        Ok(Some(document.clone()))
    }

    /// Sends an image's blobs; its manifest comes back, and is not sent yet.
    pub(super) async fn image(&self, image: &Going) -> Result<Document> {
        let kept = if self.0.options.force { None } else { self.kept(image).await? };
        if let Some(document) = kept {
            let plain = read(&document)?.layers.iter().any(is_plain);
            let packs = self.0.options.packing.is_some_and(|packing| packing != Packing::None);
            if !(plain && packs) {
                self.send(image, &document).await?;
                return Ok(document);
            }
        }
        let mut loads = Vec::new();
        for layer in &image.layers {
            loads.push((layer.clone(), self.0.load(layer).await?));
        }
        let layers = self.carry(loads).await?;
        let config = self.0.config(&image.id, OCI_CONFIG).await?;
        let annotations = match &image.manifest {
            Some(document) => read(document)?.annotations,
            None => BTreeMap::new(),
        };
        new(config, layers, annotations)
    }

    /// Sends what a manifest lists.
    pub(super) async fn send(&self, image: &Going, document: &Document) -> Result<()> {
        let manifest = read(document)?;
        let mut loads = Vec::new();
        for (row, blob) in image.layers.iter().zip(manifest.layers) {
            let whence = self.0.whence(image, row, &blob.digest).await?;
            let blob = Box::new(blob);
            loads.push(match whence {
                Whence::Here(form) => (form, Load::Blob { blob, is_here: true }),
                Whence::Packing(packing) => (row.clone(), Load::Pack(packing, Some(blob))),
                Whence::There => (row.clone(), Load::Blob { blob, is_here: false }),
            });
        }
        self.carry(loads).await?;
        self.0.config(&image.id, &manifest.config.media_type).await.map(drop)
    }

    /// Carries layers, several at once; their descriptors come back in the order of the layers.
    async fn carry(&self, loads: Vec<(LayerRow, Load)>) -> Result<Vec<Descriptor>> {
        for (layer, _) in loads.iter().rev() {
            self.0.progress.layer(&layer.diff_id, PushState::Preparing);
        }
        let mut done: Vec<Option<Descriptor>> = vec![None; loads.len()];
        let mut tasks = JoinSet::new();
        for (at, (layer, load)) in loads.iter().enumerate().rev() {
            // An image may have a layer twice.
            if loads.iter().position(|other| other.1 == *load && other.0 == *layer) == Some(at) {
                let (carrier, layer, load) = (Arc::clone(&self.0), layer.clone(), load.clone());
                tasks.spawn(async move { (at, carrier.carry_one(&layer, load).await) });
            }
        }
        while let Some(joined) = tasks.join_next().await {
            let (at, descriptor) = joined.map_err(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Error::refused(Kind::Unavailable, "the runtime is shutting down"),
            })?;
            let descriptor = descriptor?;
            for (other, load) in loads.iter().enumerate() {
                if *load == loads[at] {
                    done[other] = Some(descriptor.clone());
                }
            }
        }
        let missing = || Error::refused(Kind::Internal, "a layer was not pushed");
        done.into_iter().map(|descriptor| descriptor.ok_or_else(missing)).collect()
    }
}

impl Inner {
    /// What is to be listed of a layer.
    async fn load(&self, layer: &LayerRow) -> Result<Load> {
        let (blob, size) = (layer.blob.clone(), layer.blob_size);
        let compression = self.engine.blocking(move |engine| stored_as(engine.store(), &blob)).await?;
        let plain = compression == mica_layer::Compression::None;
        let packing = self.options.packing.unwrap_or_default();
        let stays = if plain { packing == Packing::None } else { !self.options.force };
        if !stays {
            return Ok(Load::Pack(packing, None));
        }
        let blob = Descriptor::new(&layer_type(compression), layer.blob.clone(), size);
        Ok(Load::Blob { blob: Box::new(blob), is_here: true })
    }

    async fn carry_one(self: &Arc<Self>, layer: &LayerRow, load: Load) -> Result<Descriptor> {
        let permit = match self.room.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.progress.layer(&layer.diff_id, PushState::Waiting);
                self.room.acquire().await.map_err(|_| Error::refused(Kind::Internal, "nothing is carried any more"))?
            }
        };
        let descriptor = match load {
            Load::Blob { blob, is_here } => self.carry_blob(layer, &blob, is_here).await.map(|()| *blob),
            Load::Pack(packing, listed) => self.carry_packed(layer, packing, listed.as_deref()).await,
        };
        drop(permit);
        descriptor
    }

    async fn carry_blob(self: &Arc<Self>, layer: &LayerRow, blob: &Descriptor, is_here: bool) -> Result<()> {
        if self.reach(layer, &blob.digest, Told::Yes).await? {
            return Ok(());
        }
        if !is_here {
            return Err(lost(&blob.digest));
        }
        self.send_again(layer, Form::Stored).await?;
        self.record(None, blob.digest.clone()).await
    }

    /// Where a blob of a layer comes from that a manifest lists.
    async fn whence(&self, image: &Going, layer: &LayerRow, listed: &Digest) -> Result<Whence> {
        if *listed == layer.blob {
            return Ok(Whence::Here(layer.clone()));
        }
        if let Some(size) = image.forms.get(listed) {
            return Ok(Whence::Here(LayerRow { blob: listed.clone(), blob_size: *size, ..layer.clone() }));
        }
        let (layer, listed) = (layer.diff_id.clone(), listed.clone());
        let form = self.engine.blocking(move |engine| engine.form_of(&layer, &listed)).await?;
        Ok(match form {
            Some(FormOf::Packing(packing)) => Whence::Packing(packing),
            // A blob that nobody holds for this push.
            Some(FormOf::Blob(_)) | None => Whence::There,
        })
    }

    /// Packs and sends a layer unless the registry has what it was packed to; `listed` is what it must come to.
    async fn carry_packed(
        self: &Arc<Self>,
        layer: &LayerRow,
        packing: Packing,
        listed: Option<&Descriptor>,
    ) -> Result<Descriptor> {
        if let Some(listed) = listed
            && self.reach(layer, &listed.digest, Told::Yes).await?
        {
            return Ok(listed.clone());
        }
        let media_type = layer_type(packing.compression());
        let (diff_id, method) = (layer.diff_id.clone(), packing.to_string());
        let known =
            self.engine.blocking(move |engine| engine.store().read(|db| remote::packed(db, &diff_id, &method))).await?;
        if let Some(Packed { digest, size }) = known
            && self.reach(layer, &digest, Told::Yes).await?
        {
            return Ok(Descriptor::new(&media_type, digest, size));
        }
        let Sent { digest, size } = self.send_again(layer, Form::Packed(packing)).await?;
        let packed = (layer.diff_id.clone(), packing.to_string(), Packed { digest: digest.clone(), size });
        self.record(Some(packed), digest.clone()).await?;
        if let Some(listed) = listed {
            // Another version of this program may have packed it then. From now on that is known.
            return if listed.digest == digest { Ok(listed.clone()) } else { Err(lost(&listed.digest)) };
        }
        Ok(Descriptor::new(&media_type, digest, size))
    }

    /// Sends a layer as often as it takes, within reason, each time from where the registry has got to.
    async fn send_again(self: &Arc<Self>, layer: &LayerRow, form: Form) -> Result<Sent> {
        let mut tries = 1;
        let mut note = self.note(layer, form).await?;
        loop {
            let went_on = note.as_ref().is_some_and(|note| note.place().is_some());
            let error = match self.send_layer(layer, form, &mut note).await {
                Err(error) => error,
                Ok(sent) => {
                    if let Some(note) = note {
                        note.remove();
                    }
                    self.progress.layer(&layer.diff_id, PushState::Pushed);
                    return Ok(sent);
                }
            };
            let passing = error.kind() == Kind::Unavailable;
            if !passing && let Some(note) = note.as_mut() {
                // What is there may be what is wrong.
                note.clear()?;
            }
            if tries == TRIES || !(passing || went_on) {
                if let Some(note) = note.filter(|note| note.place().is_none()) {
                    note.remove();
                }
                return Err(error);
            }
            tracing::debug!(layer = layer.diff_id.0.as_str(), %error, "sending again");
            tries += 1;
        }
    }

    /// Makes sure of a blob without sending it: the repository has it, or gets it from another one of its registry.
    async fn reach(&self, layer: &LayerRow, blob: &Digest, told: Told) -> Result<bool> {
        let registry = &self.engine.options().registry;
        let tell = |state: PushState<'_>| {
            if told == Told::Yes {
                self.progress.layer(&layer.diff_id, state);
            }
        };
        if registry.has_blob(&self.to, blob).await? {
            tell(PushState::Exists);
            self.record(None, blob.clone()).await?;
            return Ok(true);
        }
        for from in self.places(blob).await? {
            // A registry may not let us look there; then it has nothing for us.
            let mounted = registry.mount_blob(&self.to, blob, &from).await.unwrap_or_else(|error| {
                tracing::debug!(%from, %error, "not mounted");
                false
            });
            if mounted {
                tell(PushState::Mounted(from.path()));
                self.record(None, blob.clone()).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Other repositories of the registry that are known to have a blob.
    async fn places(&self, blob: &Digest) -> Result<Vec<Reference>> {
        let blob = blob.clone();
        let places = self.engine.blocking(move |engine| engine.store().read(|db| remote::places_of(db, &blob))).await?;
        let references = places.iter().filter_map(|place| Reference::parse_name(place).ok());
        let others = references.filter(|from| from.domain() == self.to.domain() && from.path() != self.to.path());
        Ok(others.take(PLACES_MAX).collect())
    }

    /// What was carried is known from now on, whatever becomes of the rest.
    async fn record(&self, packed: Option<(DiffId, String, Packed)>, blob: Digest) -> Result<()> {
        let repository = self.to.repository();
        self.engine
            .blocking(move |engine| {
                engine.store().write(Flush::Later, |db| {
                    if let Some((diff_id, method, packed)) = &packed {
                        remote::insert_packed(db, diff_id, method, packed)?;
                    }
                    remote::insert_places(db, &repository, &[blob])
                })
            })
            .await
    }

    /// The image's config, sent if it is not there.
    async fn config(&self, id: &Digest, media_type: &str) -> Result<Descriptor> {
        let wanted = id.clone();
        let bytes = self.engine.blocking(move |engine| engine.store().read_document(&wanted)).await?;
        let descriptor = Descriptor::new(media_type, id.clone(), bytes.len() as u64);
        let registry = &self.engine.options().registry;
        if !registry.has_blob(&self.to, id).await? {
            let mut upload = registry.begin_upload(&self.to).await?;
            upload.write(&bytes).await?;
            upload.finish(id).await?;
        }
        Ok(descriptor)
    }
}

fn lost(blob: &Digest) -> Error {
    let message = format!("layer `{blob}` is neither in the store nor at the registry any more");
    Error::refused(Kind::NotFound, message).with_hint("push again")
}
