//! `push`: an image that is here becomes one that a registry has.
//!
//! Name → images with what holds them in place → a manifest for each → layers → manifests → index → records. What was pulled
//! goes back under the manifest it came with, to the byte; an image that was made here gets one of what its layers were packed
//! to. Nothing is sent that the registry has, and the name is written last.

mod layers;
pub(super) mod manifest;
pub(super) mod send;
mod subject;

use std::sync::Arc;

use mica_layer::{DiffId, Digest, Packing};

use crate::events::Actor;
use crate::list::ManifestList;
use crate::manifest::Document;
use crate::ops::pull::Unseen;
use crate::store::{Flush, images, lists, remote};
use crate::{Engine, Error, Kind, Platform, Reference, Result};
use layers::Carrier;
use subject::{Going, Subject};

/// What to push.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The name, with a tag.
    pub reference: Reference,
    /// How.
    pub options: PushOptions,
}

/// How images are pushed.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// The image for this platform alone, where the name stands for several.
    pub platform: Option<Platform>,
    /// How layers that are not compressed here are; by default with gzip.
    pub packing: Option<Packing>,
    /// Layers that are compressed already, too.
    pub force: bool,
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The name it was pushed by.
    pub reference: Reference,
    /// The digest of what the name stands for at the registry now.
    pub digest: Digest,
    /// How many bytes that has.
    pub size: u64,
    /// True when the name stands for an index here and only one of its images went.
    pub partial: bool,
}

/// What a push reports while it goes on; called from several threads at once.
pub trait PushProgress: Send + Sync + std::fmt::Debug {
    /// A repository is about to be pushed to.
    fn pushing(&self, repository: &Reference);
    /// A layer is at a new point.
    fn layer(&self, layer: &DiffId, state: PushState<'_>);
    /// A name is done.
    fn pushed(&self, pushed: &Pushed);
}

/// Where a layer is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushState<'a> {
    /// It belongs to the image.
    Preparing,
    /// Others go first.
    Waiting,
    /// The repository has it.
    Exists,
    /// The repository got it from this other one of the same registry.
    Mounted(&'a str),
    /// So many bytes of so many have been read and sent.
    Pushing {
        /// Bytes that have been read.
        done: u64,
        /// Bytes there are.
        total: u64,
    },
    /// The registry has taken it.
    Pushed,
}

impl PushProgress for Unseen {
    fn pushing(&self, _repository: &Reference) {}
    fn layer(&self, _layer: &DiffId, _state: PushState<'_>) {}
    fn pushed(&self, _pushed: &Pushed) {}
}

impl Engine {
    /// Pushes what a name stands for.
    pub async fn push(&self, request: PushRequest, progress: Arc<dyn PushProgress>) -> Result<Pushed> {
        progress.pushing(&request.reference);
        let reference = request.reference.clone();
        let list =
            self.blocking(move |engine| engine.store().read(|db| lists::meant(db, &reference.to_string()))).await?;
        let pushed = match list {
            Some((_, list)) => self.push_as_list(request, &list, progress).await,
            None => self.push_tag(request, progress).await,
        }?;
        self.tell_pushed(&pushed);
        Ok(pushed)
    }

    fn tell_pushed(&self, pushed: &Pushed) {
        let name = pushed.reference.familiar();
        self.tell("image", "push", Actor::named(&name, &pushed.reference.familiar_repository()));
    }

    /// A list that is made here goes as a whole.
    async fn push_as_list(
        &self,
        request: PushRequest,
        list: &ManifestList,
        progress: Arc<dyn PushProgress>,
    ) -> Result<Pushed> {
        let PushRequest { reference, options } = request;
        if options.platform.is_some() {
            let message = format!("{} is a manifest list, which is pushed as a whole", reference.familiar());
            return Err(Error::refused(Kind::InvalidInput, message).with_hint("leave `--platform` out"));
        }
        let (document, _) = self.push_members(list, &reference, &options, &progress).await?;
        let pushed = Pushed { reference, digest: document.digest, size: document.bytes.len() as u64, partial: false };
        progress.pushed(&pushed);
        Ok(pushed)
    }

    /// Pushes one image under the digest of its manifest, which comes back, for an index that is to name it; the manifest is the
    /// one that a list has, where it is here.
    pub(super) async fn push_image(
        &self,
        to: &Reference,
        (image, listed): (&Digest, &Digest),
        options: &PushOptions,
        progress: &Arc<dyn PushProgress>,
    ) -> Result<Document> {
        let subject = {
            let (to, image, listed) = (to.clone(), image.clone(), listed.clone());
            self.blocking(move |engine| engine.take_up_image(&to, &image, &listed)).await?
        };
        let carrier = Carrier::new(self, to, options, Arc::clone(progress));
        let document = carrier.image(subject.image()).await?;
        self.options().registry.push_manifest(&carrier.pinned(&document.digest)?, &document).await?;
        Ok(document)
    }

    /// Pushes every tag of a repository, in their order.
    pub async fn push_all(
        &self,
        repository: &Reference,
        options: &PushOptions,
        progress: Arc<dyn PushProgress>,
    ) -> Result<Vec<Pushed>> {
        progress.pushing(repository);
        let name = repository.repository();
        let tags = self.blocking(move |engine| engine.store().read(|db| images::tags_in(db, &name))).await?;
        if tags.is_empty() {
            return Err(subject::none_of(repository));
        }
        let mut pushed = Vec::new();
        for reference in tags {
            let request = PushRequest { reference, options: options.clone() };
            let one = self.push_tag(request, Arc::clone(&progress)).await?;
            self.tell_pushed(&one);
            pushed.push(one);
        }
        Ok(pushed)
    }

    async fn push_tag(&self, request: PushRequest, progress: Arc<dyn PushProgress>) -> Result<Pushed> {
        let PushRequest { reference, options } = request;
        let subject = {
            let (reference, platform) = (reference.clone(), options.platform.clone());
            self.blocking(move |engine| engine.take_up(&reference, platform.as_ref())).await?
        };
        let carrier = Carrier::new(self, &reference, &options, Arc::clone(&progress));
        let (named, sent, partial) = match self.push_index(&subject, &carrier).await? {
            Some((named, sent)) => (named, sent, false),
            None => {
                let image = subject.image();
                (carrier.image(image).await?, vec![image.id.clone()], subject.index.is_some())
            }
        };
        self.options().registry.push_manifest(&reference, &named).await?;
        let pushed = Pushed { reference, digest: named.digest.clone(), size: named.bytes.len() as u64, partial };
        self.record_pushed(&pushed.reference, named, sent).await?;
        progress.pushed(&pushed);
        Ok(pushed)
    }

    /// Pushes all images of an index, each under its digest; nothing when not all that it lists is here or there.
    async fn push_index(&self, subject: &Subject, carrier: &Carrier) -> Result<Option<(Document, Vec<Digest>)>> {
        let Some(index) = &subject.index else { return Ok(None) };
        let registry = &self.options().registry;
        let mut going: Vec<(&Going, Document)> = Vec::new();
        for manifest in &index.manifests {
            match subject.images.iter().find(|image| image.manifest_digest() == Some(manifest)) {
                Some(image) => match carrier.kept(image).await? {
                    Some(document) => going.push((image, document)),
                    None => return Ok(None),
                },
                // What is not here may be there: attestations, and images of other platforms that others pushed.
                None => {
                    let pinned = carrier.pinned(manifest)?;
                    if registry.look_up(&pinned).await?.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        if carrier.repacks_all() {
            let message =
                format!("cannot recompress `{}`: it stands for several images", carrier.repository().familiar());
            return Err(Error::refused(Kind::InvalidInput, message).with_hint("name one with `--platform`"));
        }
        let mut sent = Vec::new();
        for (image, document) in going {
            carrier.send(image, &document).await?;
            registry.push_manifest(&carrier.pinned(&document.digest)?, &document).await?;
            sent.push(image.id.clone());
        }
        Ok(Some((index.document.clone(), sent)))
    }

    /// What the registry calls the images by now is one more name of each.
    async fn record_pushed(&self, to: &Reference, named: Document, sent: Vec<Digest>) -> Result<()> {
        let repository = to.repository();
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| {
                for image in &sent {
                    // It may have been removed meanwhile; then nobody needs the name.
                    if images::one(db, image)?.is_some() {
                        remote::insert_name(db, &repository, &named.digest, image)?;
                    }
                }
                remote::insert_places(db, &repository, &sent)
            })
        })
        .await
    }
}
