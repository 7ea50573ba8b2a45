//! What a name stands for here, and what holds it in place while it is pushed.

use std::collections::{BTreeMap, BTreeSet};

use mica_layer::{DiffId, Digest};

use super::manifest::document_of;
use crate::manifest::{Contents, DOCKER_LIST, Document, OCI_INDEX, OCI_MANIFEST};
use crate::storage::layer_missing;
use crate::store::images::{one, stack_of, tagged, tags_in};
use crate::store::layers::{LayerRow, layer};
use crate::store::locks::{Lock, LockName};
use crate::store::manifests;
use crate::store::remote;
use crate::{Engine, Error, Kind, Platform, Reference, Result};

/// What is pushed.
#[derive(Debug)]
pub(super) struct Subject {
    /// The index behind the name, unless one platform was asked for.
    pub(super) index: Option<Listing>,
    /// The image that was asked for, then the others that the index lists and that are here.
    pub(super) images: Vec<Going>,
    // Held so that no other command takes any of it away.
    _locks: Vec<Lock>,
}

/// An index with the manifests in it.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) document: Document,
    pub(super) manifests: Vec<Digest>,
}

/// An image on its way out.
#[derive(Debug)]
pub(super) struct Going {
    pub(super) id: Digest,
    /// The manifest it came with.
    pub(super) manifest: Option<Document>,
    /// Bottom first.
    pub(super) layers: Vec<LayerRow>,
    /// Blobs of these layers that the manifest lists and the store has, with their sizes.
    pub(super) forms: BTreeMap<Digest, u64>,
}

impl Subject {
    /// The image that was asked for.
    pub(super) fn image(&self) -> &Going {
        &self.images[0]
    }
}

impl Going {
    pub(super) fn manifest_digest(&self) -> Option<&Digest> {
        self.manifest.as_ref().map(|document| &document.digest)
    }
}

/// The rows of a subject, which may go while its locks are taken.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    index: Option<Digest>,
    images: Vec<FoundImage>,
}

#[derive(Debug, PartialEq, Eq)]
struct FoundImage {
    id: Digest,
    manifest: Option<Digest>,
    stack: Vec<DiffId>,
    forms: BTreeMap<Digest, u64>,
}

impl FoundImage {
    fn read(db: &rusqlite::Connection, id: Digest, manifest: Option<Digest>) -> Result<FoundImage> {
        let stack = stack_of(db, &id)?;
        let forms =
            manifest.as_ref().map(|manifest| manifests::blobs_of(db, manifest)).transpose()?.unwrap_or_default();
        let forms = forms.into_iter().map(|(_, blob, size)| (blob, size)).collect();
        Ok(FoundImage { id, manifest, stack, forms })
    }
}

impl Engine {
    /// Finds what a name stands for and holds it in place. Blocks.
    pub(super) fn take_up(&self, reference: &Reference, platform: Option<&Platform>) -> Result<Subject> {
        let (found, locks) = self.hold(&|| self.store().read(|db| find(db, reference)))?;
        self.subject(found, (reference, platform), locks)
    }

    /// The same for one image by its ID, and by the manifest that a list has, where it is here; `reference` is what messages call it. Blocks.
    pub(super) fn take_up_image(&self, reference: &Reference, id: &Digest, listed: &Digest) -> Result<Subject> {
        let find = |db: &rusqlite::Connection| match one(db, id)? {
            Some(_) => {
                let manifest = manifests::listed_or_meant(db, id, listed)?;
                Ok(Found { index: None, images: vec![FoundImage::read(db, id.clone(), manifest)?] })
            }
            None => Err(Error::refused(Kind::NotFound, format!("no such image: `{}`", id.short()))),
        };
        let (found, locks) = self.hold(&|| self.store().read(find))?;
        self.subject(found, (reference, None), locks)
    }

    /// Holds what is found until it is what was held.
    fn hold(&self, find: &dyn Fn() -> Result<Found>) -> Result<(Found, Vec<Lock>)> {
        let mut found = find()?;
        loop {
            let locks = self.hold_rows(&found)?;
            let now = find()?;
            if now == found {
                return Ok((found, locks));
            }
            found = now;
        }
    }

    fn hold_rows(&self, found: &Found) -> Result<Vec<Lock>> {
        let layers = found.images.iter().flat_map(|image| image.stack.iter().cloned().map(LockName::Layer));
        let documents = found.images.iter().flat_map(|image| [Some(&image.id), image.manifest.as_ref()]);
        let forms = found.images.iter().flat_map(|image| image.forms.keys());
        let documents = documents.chain([found.index.as_ref()]).flatten().chain(forms);
        let documents = documents.cloned().map(LockName::Document);
        let names: BTreeSet<LockName> = layers.chain(documents).collect();
        names.iter().map(|name| self.store().lock_shared(name)).collect()
    }

    fn subject(
        &self,
        found: Found,
        (reference, platform): (&Reference, Option<&Platform>),
        locks: Vec<Lock>,
    ) -> Result<Subject> {
        let mut images = Vec::new();
        for FoundImage { id, manifest, stack, forms } in found.images {
            let manifest = manifest.map(|digest| self.store().read_document(&digest)).transpose()?;
            let manifest = manifest.map(|bytes| document_of(bytes, OCI_MANIFEST));
            let layers = stack
                .iter()
                .map(|diff_id| self.store().read(|db| layer(db, diff_id))?.ok_or_else(|| layer_missing(diff_id)));
            images.push(Going { id, manifest, layers: layers.collect::<Result<_>>()?, forms });
        }
        if let Some(platform) = platform {
            let at = self.best(&images, platform)?.ok_or_else(|| {
                let name = reference.familiar();
                Error::refused(Kind::NotFound, format!("no such image: `{name}` for platform `{platform}`"))
            })?;
            images.swap(0, at);
            images.truncate(1);
        }
        let index = match found.index.filter(|_| platform.is_none()) {
            Some(index) => Some(listing(document_of(self.store().read_document(&index)?, OCI_INDEX))?),
            None => None,
        };
        Ok(Subject { index, images, _locks: locks })
    }

    /// Which of the images suits a platform best.
    fn best(&self, images: &[Going], platform: &Platform) -> Result<Option<usize>> {
        let mut best: Option<(u32, usize)> = None;
        for (at, image) in images.iter().enumerate() {
            let rank = platform.rank(&self.store().image_config(&image.id)?.platform());
            if let Some(rank) = rank.filter(|rank| best.is_none_or(|(least, _)| *rank < least)) {
                best = Some((rank, at));
            }
        }
        Ok(best.map(|(_, at)| at))
    }
}

/// Nothing of a repository is here.
pub(super) fn none_of(repository: &Reference) -> Error {
    let name = repository.familiar_repository();
    Error::refused(Kind::NotFound, format!("no image has a tag of `{name}`"))
        .with_hint("`mica tag IMAGE NAME` gives an image a name; `mica images` lists those there are")
}

fn find(db: &rusqlite::Connection, reference: &Reference) -> Result<Found> {
    let Some(id) = tagged(db, reference)? else {
        if tags_in(db, &reference.repository())?.is_empty() {
            return Err(none_of(reference));
        }
        return Err(Error::refused(Kind::NotFound, format!("no such tag: `{}`", reference.familiar())));
    };
    let index = remote::index_of(db, reference)?;
    let manifest = manifests::meant(db, &id, Some(reference))?;
    let mut images = vec![FoundImage::read(db, id, manifest)?];
    for listed in index.as_ref().map(|index| remote::listed(db, index)).transpose()?.unwrap_or_default() {
        if Some(&listed.manifest) != images[0].manifest.as_ref() {
            images.push(FoundImage::read(db, listed.image, Some(listed.manifest))?);
        }
    }
    Ok(Found { index, images })
}

fn listing(document: Document) -> Result<Listing> {
    let document = match document.read()? {
        Contents::Index(index) => {
            let manifests = index.manifests.into_iter().map(|manifest| manifest.digest).collect();
            return Ok(Listing { document, manifests });
        }
        Contents::Manifest(_) => document,
    };
    let message =
        format!("`{}` is recorded as an index and is none; it is not {OCI_INDEX} or {DOCKER_LIST}", document.digest);
    Err(Error::refused(Kind::Corrupt, message))
}
