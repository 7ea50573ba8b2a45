//! `manifest push`: what a list names gets into the repository, then the index under its name.
//!
//! What the repository has is not sent. Images that were added from the store are pushed as by `push`; others are copied as by
//! `image copy`, which takes over what another repository of the same registry has. The index comes last, so it never names
//! what is not there.

use std::sync::Arc;

use mica_layer::Digest;

use super::{documents, no_such};
use crate::list::{ManifestList, Member};
use crate::manifest::{Descriptor, Document};
use crate::ops::copy_image::{CopyRequest, Means, Place, copy_image};
use crate::ops::pull::{Platforms, Unseen};
use crate::ops::push::{PushOptions, PushProgress};
use crate::store::images::one;
use crate::store::{Flush, lists, manifests};
use crate::{Engine, Error, Kind, Reference, Result};

/// A list to push.
#[derive(Debug, Clone, Default)]
pub struct PushList {
    /// The list.
    pub name: String,
    /// The name to push it under; its own when `None`.
    pub destination: Option<String>,
    /// Forget the list afterwards.
    pub purge: bool,
    /// How the layers of images of the store are pushed.
    pub options: PushOptions,
}

/// A list that a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedList {
    /// Its images, by the names they have there.
    pub images: Vec<Reference>,
    /// The digest of the index.
    pub digest: Digest,
}

impl Engine {
    /// Pushes a list with its images.
    pub async fn push_list(&self, request: PushList) -> Result<PushedList> {
        let reference = Reference::parse(&request.name)?;
        let list = self.find_list(&reference).await?.ok_or_else(|| no_such(&reference))?;
        let to = request.destination.as_deref().map_or_else(|| Ok(reference.clone()), destination)?;
        let progress: Arc<dyn PushProgress> = Arc::new(Unseen);
        let (document, images) = self.push_members(&list, &to, &request.options, &progress).await?;
        if request.purge {
            self.forget(reference, list).await?;
        }
        Ok(PushedList { images, digest: document.digest })
    }

    /// Pushes what a list names, then its index, which comes back with the names of the images.
    pub(crate) async fn push_members(
        &self,
        list: &ManifestList,
        to: &Reference,
        options: &PushOptions,
        progress: &Arc<dyn PushProgress>,
    ) -> Result<(Document, Vec<Reference>)> {
        if list.members.is_empty() {
            return Err(Error::refused(Kind::InvalidInput, "the manifest list names no image")
                .with_hint("`mica manifest add` adds one"));
        }
        let (mut going, mut images) = (list.clone(), Vec::new());
        for member in &mut going.members {
            match self.own_image(member).await? {
                Some(image) => {
                    // An image that was made here has its manifest from how its layers are packed.
                    let document = self.push_image(to, (&image, &member.descriptor.digest), options, progress).await?;
                    let Descriptor { media_type, digest, size, .. } = document.descriptor();
                    member.descriptor = Descriptor { media_type, digest, size, ..member.descriptor.clone() };
                }
                None => {
                    let source = member.repository().ok_or_else(|| gone(member))?;
                    self.bring(to, &member.descriptor.digest, &source).await?;
                }
            }
            images.push(pinned(to, &member.descriptor.digest)?);
        }
        let document = going.document()?;
        self.options().registry.push_manifest(to, &document).await?;
        Ok((document, images))
    }

    /// The manifest of a member, from where it is.
    pub(super) async fn member_document(&self, member: &Member) -> Result<Document> {
        let wanted = member.clone();
        let here = self.blocking(move |engine| {
            let found = engine.store().read(|db| match lists::image_of(db, &wanted)? {
                Some(id) => Ok(Some((manifests::listed_or_meant(db, &id, &wanted.descriptor.digest)?, id))),
                None => Ok(None),
            })?;
            let document =
                found.map(|(manifest, id)| documents::of_image(engine.store(), &id, manifest.as_ref())).transpose()?;
            // An image that was made here may have got another manifest since; then only a registry has this one.
            Ok(document.filter(|document| document.digest == wanted.descriptor.digest))
        });
        match (here.await?, member.repository()) {
            (Some(document), _) => Ok(document),
            (None, Some(source)) => {
                self.options().registry.manifest(&pinned(&source, &member.descriptor.digest)?).await
            }
            (None, None) => Err(gone(member)),
        }
    }

    /// The image that a member was added as, while it is here.
    async fn own_image(&self, member: &Member) -> Result<Option<Digest>> {
        let Some(id) = member.image.clone() else { return Ok(None) };
        self.blocking(move |engine| engine.store().read(|db| Ok(one(db, &id)?.map(|row| row.id)))).await
    }

    /// Makes sure that a repository has a manifest with all it names, which another one has.
    async fn bring(&self, to: &Reference, digest: &Digest, source: &Reference) -> Result<()> {
        let (source, target) = (pinned(source, digest)?, pinned(to, digest)?);
        let options = self.options();
        if options.registry.look_up(&target).await?.is_some() {
            return Ok(());
        }
        let request = CopyRequest {
            source: Place::Registry(source),
            target: Place::Registry(target),
            platforms: Platforms::All,
            means: Means {
                registry: Arc::clone(&options.registry),
                scratch: self.store().root().join("content/ingest"),
                bounds: options.layer_bounds,
                umask: 0o077,
            },
        };
        copy_image(request, Arc::new(Unseen)).await.map(drop)
    }

    /// Forgets a list unless somebody has changed it meanwhile.
    async fn forget(&self, reference: Reference, pushed: ManifestList) -> Result<()> {
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| {
                if lists::named(db, &reference)?.as_ref() == Some(&pushed) {
                    lists::delete(db, &reference)?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// Where to push to; Podman's scripts write the transport before it.
fn destination(text: &str) -> Result<Reference> {
    let reference = Reference::parse(text.strip_prefix("docker://").unwrap_or(text))?;
    if reference.digest().is_some() {
        let message = format!("`{}` has a digest, and an index has its own", reference.familiar());
        return Err(Error::refused(Kind::InvalidInput, message).with_hint("name it `repository:tag`"));
    }
    Ok(reference)
}

fn gone(member: &Member) -> Error {
    Error::refused(Kind::NotFound, format!("no such image: `{}`", member.name)).with_hint("take it out of the list")
}

fn pinned(repository: &Reference, digest: &Digest) -> Result<Reference> {
    Reference::parse(&format!("{}@{digest}", repository.repository()))
}
