//! The last step of every verb that makes an image: everything is flushed, then one transaction gives it its rows and names.

use mica_layer::{DiffId, Digest};
use mica_storage_loader::Driver;

use crate::image::ImageConfig;
use crate::storage::layer_missing;
use crate::store::layers::NewRows;
use crate::store::locks::{Lock, LockName};
use crate::store::{Flush, build_cache, images, layers};
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
    /// Its names.
    pub(crate) references: Vec<Reference>,
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
        Ok(NewImage { config_bytes, config, manifest: None, references })
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
        steps: &[Digest],
    ) -> Result<Vec<Published>> {
        let mut held: Vec<Lock> = Vec::new();
        let mut documents = Vec::new();
        for image in new {
            let id = self.take_document(&image.config_bytes, &mut held)?;
            let manifest = image.manifest.as_deref().map(|bytes| self.take_document(bytes, &mut held)).transpose()?;
            documents.push((id, manifest));
        }
        self.flush(driver)?;
        self.store().write(Flush::Now, |db| {
            layers::insert(db, driver.name(), rows, None)?;
            let mut published = Vec::new();
            for (image, (id, manifest)) in new.iter().zip(&documents) {
                images::insert_blob(db, id, image.config_bytes.len() as u64)?;
                if let (Some(manifest), Some(bytes)) = (manifest, &image.manifest) {
                    images::insert_blob(db, manifest, bytes.len() as u64)?;
                }
                let stack = &image.config.rootfs.diff_ids;
                require_layers(db, stack)?;
                layers::mark_flushed(db, driver.name(), stack)?;
                images::insert(db, &images::NewImage { id, config: &image.config, manifest: manifest.as_ref() })?;
                build_cache::own(db, steps, id)?;
                let mut replaced = Vec::new();
                for reference in &image.references {
                    let before = images::set_tag(db, reference, id)?;
                    replaced.extend(before.map(|before| (reference.clone(), before)));
                }
                published.push(Published { id: id.clone(), replaced });
            }
            Ok(published)
        })
    }

    fn take_document(&self, bytes: &[u8], held: &mut Vec<Lock>) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        held.push(self.store().lock_shared(&LockName::Document(digest.clone()))?);
        self.store().write_document(bytes)
    }
}

fn require_layers(db: &rusqlite::Transaction<'_>, stack: &[DiffId]) -> Result<()> {
    for diff_id in stack {
        if layers::layer(db, diff_id)?.is_none() {
            return Err(layer_missing(diff_id));
        }
    }
    Ok(())
}
