//! The last step of every verb that makes an image: everything is flushed, then one transaction gives it its rows and names.

use std::sync::Arc;

use mica_layer::{DiffId, Digest};
use mica_storage_loader::Driver;

use crate::build::CachedStep;
use crate::image::ImageConfig;
use crate::manifest::{Contents, Document, Manifest};
use crate::storage::layer_missing;
use crate::store::layers::{NewRows, OnDisk};
use crate::store::locks::{Lock, LockName};
use crate::store::{Flush, build_cache, images, layers, manifests, remote};
use crate::{Engine, Error, Kind, Reference, Result};

/// An image whose layers are in place.
#[derive(Debug)]
pub(crate) struct NewImage {
    /// The config as bytes: its digest is the image's ID.
    pub(crate) config_bytes: Vec<u8>,
    /// The same, understood.
    pub(crate) config: ImageConfig,
    /// The manifest it came with.
    pub(crate) manifest: Option<Vec<u8>>,
    /// The index that lists the image, when its names stand for one.
    pub(crate) index: Option<Arc<Document>>,
    /// Its names.
    pub(crate) references: Vec<Reference>,
    /// The registry it came from.
    pub(crate) origin: Option<Origin>,
}

/// What a registry calls an image.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The registry and the path on it.
    pub(crate) repository: String,
    /// The blobs that the repository has.
    pub(crate) blobs: Vec<Digest>,
}

/// An image that has its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) id: Digest,
    /// Names that another image had.
    pub(crate) replaced: Vec<(Reference, Digest)>,
}

impl NewImage {
    /// An image that is made here: its config is serialised once, and these bytes are its identity.
    pub(crate) fn new(config: ImageConfig, references: Vec<Reference>) -> Result<NewImage> {
        let config_bytes =
            serde_json::to_vec(&config).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
        Ok(NewImage { config_bytes, config, manifest: None, index: None, references, origin: None })
    }
}

impl Engine {
    /// Publishes images over layers that are in place; `rows` are those that have just been made on the driver. Blocks.
    ///
    /// The caller holds the layers: by a chain, or by what made them.
    pub(crate) fn publish(
        &self,
        driver: &Driver,
        rows: &NewRows,
        new: &[NewImage],
        steps: &[(Digest, CachedStep)],
    ) -> Result<Vec<Published>> {
        let mut held: Vec<Lock> = Vec::new();
        let mut documents = Vec::new();
        for image in new {
            let id = self.take_document(&image.config_bytes, &mut held)?;
            let manifest = image.manifest.as_deref().map(|bytes| self.take_document(bytes, &mut held)).transpose()?;
            let index = image.index.as_ref().map(|index| self.take_document(&index.bytes, &mut held)).transpose()?;
            documents.push(Written { id, manifest, index });
        }
        let on_disk = self.flush_for(driver, rows, new, &documents)?;
        self.store().write(Flush::Now, |db| {
            layers::insert(db, driver.name(), rows, &on_disk)?;
            let mut published = Vec::new();
            for (image, Written { id, manifest, index }) in new.iter().zip(&documents) {
                images::insert_blob(db, id, image.config_bytes.len() as u64)?;
                if let (Some(manifest), Some(bytes)) = (manifest, &image.manifest) {
                    images::insert_blob(db, manifest, bytes.len() as u64)?;
                }
                let stack = &image.config.rootfs.diff_ids;
                require_layers(db, stack)?;
                layers::mark_flushed(db, driver.name(), stack, &on_disk)?;
                images::insert(db, &images::NewImage { id, config: &image.config })?;
                if let (Some(manifest), Some(bytes)) = (manifest, &image.manifest) {
                    manifests::insert(db, manifest, id, &listed(bytes, stack))?;
                }
                build_cache::own(db, steps, id)?;
                if let Some(index) = &image.index {
                    record_index(db, index)?;
                }
                if let Some(origin) = &image.origin {
                    let named = index.as_ref().or(manifest.as_ref());
                    record_origin(db, origin, id, named)?;
                }
                let target = images::Tagged { image: id, index: index.as_ref(), manifest: manifest.as_ref() };
                let mut replaced = Vec::new();
                for reference in &image.references {
                    let before = images::set_tag(db, reference, target)?;
                    replaced.extend(before.map(|before| (reference.clone(), before)));
                }
                published.push(Published { id: id.clone(), replaced });
            }
            Ok(published)
        })
    }

    /// Brings to the disk what the rows of images acknowledge.
    fn flush_for(&self, driver: &Driver, rows: &NewRows, new: &[NewImage], documents: &[Written]) -> Result<OnDisk> {
        let mut blobs: Vec<Digest> = rows.layers.iter().chain(&rows.forms).map(|layer| layer.blob.clone()).collect();
        for (image, written) in new.iter().zip(documents) {
            blobs.extend(self.store().read(|db| layers::unflushed_blobs(db, &image.config.rootfs.diff_ids))?);
            blobs.push(written.id.clone());
            blobs.extend(written.manifest.iter().chain(&written.index).cloned());
        }
        self.flush_blobs(driver, &blobs)
    }

    fn take_document(&self, bytes: &[u8], held: &mut Vec<Lock>) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        held.push(self.store().lock_shared(&LockName::Document(digest.clone()))?);
        self.store().write_document(bytes)
    }
}

/// The blobs that a manifest lists, with their layers.
fn listed(manifest: &[u8], stack: &[DiffId]) -> Vec<(DiffId, Digest)> {
    let manifest = serde_json::from_slice::<Manifest>(manifest).ok();
    let blobs = manifest.into_iter().flat_map(|manifest| manifest.layers).map(|layer| layer.digest);
    stack.iter().cloned().zip(blobs).collect()
}

/// The digests of an image's documents, which are in place.
#[derive(Debug)]
struct Written {
    id: Digest,
    manifest: Option<Digest>,
    index: Option<Digest>,
}

fn record_index(db: &rusqlite::Transaction<'_>, index: &Document) -> Result<()> {
    if let Contents::Index(contents) = index.read()? {
        images::insert_blob(db, &index.digest, index.bytes.len() as u64)?;
        remote::insert_index(db, &index.digest, &contents)?;
    }
    Ok(())
}

fn record_origin(
    db: &rusqlite::Transaction<'_>,
    origin: &Origin,
    image: &Digest,
    named: Option<&Digest>,
) -> Result<()> {
    if let Some(named) = named {
        remote::insert_name(db, &origin.repository, named, image)?;
    }
    remote::insert_places(db, &origin.repository, &origin.blobs)
}

fn require_layers(db: &rusqlite::Transaction<'_>, stack: &[DiffId]) -> Result<()> {
    for diff_id in stack {
        if layers::layer(db, diff_id)?.is_none() {
            return Err(layer_missing(diff_id));
        }
    }
    Ok(())
}
