//! `pull`: an image that a registry has becomes one that is here.
//!
//! Reference → document → manifest of a platform → config → diff IDs → layers → image. Values only get narrower, every one is
//! verified against the one before, and the name is written last, so whatever a pull leaves that dies has no name. What it had
//! of a layer stays for the next pull, which goes on there.

mod choose;
mod layers;
mod reuse;

use std::sync::Arc;

use mica_layer::Digest;
use tokio::runtime::Handle;

use crate::events::Actor;
use crate::image::ImageConfig;
use crate::manifest::{DOCUMENT_MAX, Descriptor, Document, Manifest, require_image_types};
use crate::ops::create::PullPolicy;
use crate::ops::publish::{NewImage, Origin};
use crate::registry::{BlobSink, Registry};
use crate::storage::reap::Patience;
use crate::store::images::{FoundImage, stack_of};
use crate::store::locks::Lock;
use crate::store::manifests;
use crate::{Engine, Error, Kind, Platform, Reference, Result};
pub(crate) use choose::{Chosen, Documents, FromRegistry, choose, is_image};
use layers::Layers;

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The name, with a tag or a digest.
    pub reference: Reference,
    /// Which of an index's images.
    pub platforms: Platforms,
}

/// Which images of an index are pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Platforms {
    /// The one that suits this machine best.
    #[default]
    Native,
    /// The one for this platform.
    One(Platform),
    /// All of them.
    All,
}

/// What a pull came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The name it was pulled by.
    pub reference: Reference,
    /// The digest of what the name stands for: a manifest or an index.
    pub digest: Digest,
    /// The image that the name leads to.
    pub image: Digest,
    /// False when everything was here already.
    pub newer: bool,
}

/// What a pull reports while it goes on; called from several threads at once.
pub trait PullProgress: Send + Sync + std::fmt::Debug {
    /// A name is being looked up.
    fn pulling(&self, reference: &Reference);
    /// A layer, named by the digest of its blob, is at a new point.
    fn layer(&self, blob: &Digest, state: LayerState);
    /// A name is done.
    fn pulled(&self, pulled: &Pulled);
    /// Something that a person should know about the image that a name led to.
    fn warning(&self, text: &str);
}

/// Where a layer is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// It is wanted, and nothing has come yet.
    Waiting,
    /// It is here already.
    Exists,
    /// So many bytes of so many have come.
    Downloading {
        /// Bytes that are here.
        done: u64,
        /// Bytes there are.
        total: u64,
    },
    /// All its bytes have come.
    Downloaded,
    /// So many bytes of so many have been unpacked.
    Extracting {
        /// Compressed bytes that have been read.
        done: u64,
        /// Compressed bytes there are.
        total: u64,
    },
    /// It is unpacked.
    Complete,
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unseen;

impl PullProgress for Unseen {
    fn pulling(&self, _reference: &Reference) {}
    fn layer(&self, _blob: &Digest, _state: LayerState) {}
    fn pulled(&self, _pulled: &Pulled) {}
    fn warning(&self, _text: &str) {}
}

/// When and how an image that is asked for is pulled.
#[derive(Debug, Clone)]
pub struct Pulling {
    /// When a registry is asked.
    pub policy: PullPolicy,
    /// The platform, where one was named.
    pub platform: Option<Platform>,
    /// Who watches.
    pub progress: Arc<dyn PullProgress>,
}

impl Default for Pulling {
    fn default() -> Self {
        Self { policy: PullPolicy::default(), platform: None, progress: Arc::new(Unseen) }
    }
}

impl Engine {
    /// Pulls an image, or several platforms of it.
    pub async fn pull(&self, request: PullRequest, progress: Arc<dyn PullProgress>) -> Result<Pulled> {
        let PullRequest { reference, platforms } = request;
        progress.pulling(&reference);
        let registry = &self.options().registry;
        let named = registry.manifest(&reference).await?;
        let chosen = choose(&FromRegistry { registry: &**registry, reference: &reference }, &named, &platforms).await?;
        // All or none: a refusal leaves nothing behind.
        for chosen in &chosen {
            require_image_types(&chosen.manifest)?;
            registry.admit(&reference, &chosen.chain).await?;
        }
        let mut newer = false;
        let mut images = Vec::new();
        for chosen in chosen {
            let (image, came) = self.pull_one(&reference, &named, &chosen, &progress).await?;
            newer |= came;
            images.push((chosen.platform.clone(), image, Digest::sha256_of(&chosen.document().bytes)));
        }
        let (image, moved) = self.name_pulled(&reference, &named, images).await?;
        newer |= moved;
        let pulled = Pulled { reference, digest: named.digest, image, newer };
        let name = pulled.reference.familiar();
        self.tell("image", "pull", Actor::named(&name, &pulled.reference.familiar_repository()));
        progress.pulled(&pulled);
        Ok(pulled)
    }

    /// Pulls every tag of a repository.
    pub async fn pull_all(
        &self,
        repository: &Reference,
        platforms: &Platforms,
        progress: Arc<dyn PullProgress>,
    ) -> Result<Vec<Pulled>> {
        let (mut pulled, mut passed_over) = (Vec::new(), None);
        for tag in self.options().registry.tags(repository).await? {
            let reference = Reference::parse(&format!("{}:{tag}", repository.repository()))?;
            let request = PullRequest { reference, platforms: platforms.clone() };
            match self.pull(request, Arc::clone(&progress)).await {
                Ok(image) => pulled.push(image),
                // Signatures and other artifacts have tags as well.
                Err(error) if error.kind() == Kind::Unsupported => {
                    tracing::warn!(%error, "tag `{tag}` is passed over");
                    passed_over.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let (true, Some(error)) = (pulled.is_empty(), passed_over) {
            return Err(error);
        }
        if pulled.is_empty() {
            let name = repository.familiar_repository();
            return Err(Error::refused(Kind::NotFound, format!("repository `{name}` has no tags")));
        }
        Ok(pulled)
    }

    /// Finds an image by a name that a person typed, and pulls it where the policy says so.
    pub async fn image_for(&self, name: &str, pulling: &Pulling) -> Result<FoundImage> {
        let find = || {
            let (name, platform) = (name.to_owned(), pulling.platform.clone());
            self.blocking(move |engine| match platform {
                Some(platform) => engine.store().find_image_for(&name, &platform),
                None => engine.store().find_image(&name),
            })
        };
        if pulling.policy != PullPolicy::Always {
            match find().await {
                Err(error) if error.kind() == Kind::NotFound && pulling.policy == PullPolicy::Missing => {}
                found => return found,
            }
        }
        // An ID is no name that a registry knows.
        let Ok(reference) = Reference::parse(name) else { return find().await };
        let platforms = pulling.platform.clone().map_or(Platforms::Native, Platforms::One);
        self.pull(PullRequest { reference, platforms }, Arc::clone(&pulling.progress)).await?;
        find().await
    }

    /// Brings one image here, without a name; true when something had to come.
    async fn pull_one(
        &self,
        reference: &Reference,
        named: &Document,
        chosen: &Chosen,
        progress: &Arc<dyn PullProgress>,
    ) -> Result<(Digest, bool)> {
        let registry = &self.options().registry;
        let manifest = &chosen.manifest;
        let is_here = {
            let (manifest, document) = (manifest.clone(), Digest::sha256_of(&chosen.document().bytes));
            self.blocking(move |engine| engine.holds(&manifest, &document).map(|held| held.is_some())).await?
        };
        let origin = Origin {
            repository: reference.repository(),
            blobs: manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest.clone()).collect(),
        };
        let work = Work {
            reference: reference.clone(),
            manifest: manifest.clone(),
            document: chosen.document().bytes.clone(),
            index: (named.digest != chosen.document().digest).then(|| Arc::new(named.clone())),
            origin,
            progress: Arc::clone(progress),
            runtime: Handle::current(),
        };
        let work = Arc::new(work);
        if is_here {
            let work = Arc::clone(&work);
            if let Some(id) = self.blocking(move |engine| engine.take_known(&work)).await? {
                return Ok((id, false));
            }
        }
        let bytes = config_bytes(&**registry, reference, &manifest.config).await?;
        self.blocking(move |engine| engine.take_in(&work, bytes)).await.map(|id| (id, true))
    }

    /// Holds an image with the blobs that a manifest of it lists, when all are here.
    fn holds(&self, manifest: &Manifest, document: &Digest) -> Result<Option<Vec<Lock>>> {
        let id = &manifest.config.digest;
        let (described, stack) = self.store().read(|db| Ok((manifests::image_of(db, document)?, stack_of(db, id)?)))?;
        if described.as_ref() == Some(id) { self.hold_forms(&stack, manifest) } else { Ok(None) }
    }

    /// Everything is here; the registry's names for it may be new. Nothing comes back when something of it went meanwhile.
    fn take_known(&self, work: &Work) -> Result<Option<Digest>> {
        let id = &work.manifest.config.digest;
        let Some(_held) = self.holds(&work.manifest, &Digest::sha256_of(&work.document))? else { return Ok(None) };
        let bytes = self.store().read_document(id)?;
        self.record_pulled(work, bytes, &crate::store::layers::NewRows::default()).map(Some)
    }

    /// Unpacks what is missing while it comes in, and records the image.
    fn take_in(&self, work: &Work, config_bytes: Vec<u8>) -> Result<Digest> {
        let config = config_of(&work.reference, &config_bytes)?;
        let stack = &config.rootfs.diff_ids;
        if stack.len() != work.manifest.layers.len() {
            let (listed, announced) = (work.manifest.layers.len(), stack.len());
            let message = format!("`{}` lists {listed} layers for an image of {announced}", work.reference.familiar());
            return Err(Error::refused(Kind::Corrupt, message));
        }
        let driver = self.selected_driver()?;
        let mut tried = false;
        let made = loop {
            // What made the first try wrong is not used again.
            let layers = Layers::new(self, work, stack, !tried);
            match self.materialise(&driver, stack, &layers, &layers) {
                // Bytes that an earlier pull left may be what is wrong; they are gone now.
                Err(error) if error.kind() == Kind::Corrupt && layers.went_on() && !tried => tried = true,
                Err(error) => {
                    let error = layers.failure().unwrap_or(error);
                    if error.kind() == Kind::InvalidInput {
                        layers.discard();
                        self.take_away_remains();
                    }
                    return Err(error);
                }
                Ok(made) => break made,
            }
        };
        self.record_pulled(work, config_bytes, &made.rows)
    }

    /// Takes away what an image left that was refused.
    pub(crate) fn take_away_remains(&self) {
        if let Err(error) = self.collect_garbage(Patience::Leave) {
            tracing::warn!(%error, "cannot take away what a refused image left");
        }
    }

    fn record_pulled(
        &self,
        work: &Work,
        config_bytes: Vec<u8>,
        rows: &crate::store::layers::NewRows,
    ) -> Result<Digest> {
        let driver = self.selected_driver()?;
        let image = NewImage {
            config: config_of(&work.reference, &config_bytes)?,
            config_bytes,
            manifest: Some(work.document.clone()),
            index: work.index.clone(),
            references: Vec::new(),
            origin: Some(work.origin.clone()),
        };
        let published = self.publish(&driver, rows, &[image], &[])?;
        self.settle_soon()?;
        let id = published.into_iter().map(|image| image.id).next();
        id.ok_or_else(|| Error::refused(Kind::Internal, "the image was not recorded"))
    }

    /// Gives the name to the image of this machine's platform, or to the first; true when it had another or none.
    async fn name_pulled(
        &self,
        reference: &Reference,
        named: &Document,
        images: Vec<(Option<Platform>, Digest, Digest)>,
    ) -> Result<(Digest, bool)> {
        let host = Platform::host();
        let rank = |platform: &Option<Platform>| platform.as_ref().and_then(|platform| host.rank(platform));
        let best = images.iter().min_by_key(|(platform, ..)| rank(platform).unwrap_or(u32::MAX));
        let Some((_, image, manifest)) = best.cloned() else {
            return Err(Error::refused(Kind::NotFound, format!("`{}` lists no image", reference.familiar())));
        };
        if reference.tag().is_none() || reference.digest().is_some() {
            return Ok((image, false));
        }
        let index = named.descriptor().is_index().then(|| named.digest.clone());
        let (reference, id) = (reference.clone(), image.clone());
        let moved = self
            .blocking(move |engine| {
                engine.store().write(crate::store::Flush::Now, |db| {
                    let moved = crate::store::images::tagged(db, &reference)?.as_ref() != Some(&id);
                    let target =
                        crate::store::images::Tagged { image: &id, index: index.as_ref(), manifest: Some(&manifest) };
                    crate::store::images::set_tag(db, &reference, target).map(|_| moved)
                })
            })
            .await?;
        Ok((image, moved))
    }
}

/// What one image is pulled by.
struct Work {
    reference: Reference,
    manifest: Manifest,
    /// The manifest's bytes.
    document: Vec<u8>,
    /// The index that the name stands for, when it stands for one.
    index: Option<Arc<Document>>,
    origin: Origin,
    progress: Arc<dyn PullProgress>,
    /// Where connections run.
    runtime: Handle,
}

struct Bytes(Vec<u8>);

impl BlobSink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Gets a config and holds it to its descriptor.
pub(crate) async fn config_bytes(
    registry: &dyn Registry,
    reference: &Reference,
    config: &Descriptor,
) -> Result<Vec<u8>> {
    if config.size > DOCUMENT_MAX {
        let message =
            format!("config `{}` has {} bytes, and no more than {DOCUMENT_MAX} are read", config.digest, config.size);
        return Err(Error::refused(Kind::InvalidInput, message));
    }
    let mut bytes = Bytes(Vec::new());
    registry.fetch_blob(reference, config, 0..config.size, &mut bytes).await?;
    let mut hasher = mica_layer::Hasher::with(config.digest.algorithm());
    hasher.update(&bytes.0);
    let actual = hasher.finish();
    if actual != config.digest {
        let message = format!(
            "the config of `{}` has the digest `{actual}` instead of `{}`",
            reference.familiar(),
            config.digest
        );
        return Err(Error::refused(Kind::Corrupt, message));
    }
    Ok(bytes.0)
}

/// Reads the config of an image.
pub(crate) fn config_of(reference: &Reference, bytes: &[u8]) -> Result<ImageConfig> {
    let name = reference.familiar();
    let config: ImageConfig = serde_json::from_slice(bytes).map_err(|error| {
        Error::refused(Kind::InvalidInput, format!("the config of `{name}` cannot be read: {error}"))
    })?;
    if config.rootfs.kind != "layers" {
        let shown: String = config.rootfs.kind.chars().take(200).flat_map(char::escape_debug).collect();
        let message = format!("the root file system of `{name}` has the type `{shown}` instead of `layers`");
        return Err(Error::refused(Kind::InvalidInput, message));
    }
    Ok(config)
}
