//! Documents by name: those of lists that are made here, of images of the store, and of registries.

use std::collections::BTreeMap;

use mica_layer::Digest;

use crate::manifest::{Contents, Descriptor, Document, OCI_CONFIG, OCI_MANIFEST};
use crate::ops::pull::{config_bytes, config_of};
use crate::ops::push::manifest::{document_of, layer_type, new};
use crate::ops::push::send::stored_as;
use crate::storage::layer_missing;
use crate::store::Store;
use crate::store::images::{self, Resolved, stack_of};
use crate::store::layers::layer;
use crate::{Engine, Error, Kind, Reference, Result};

/// A manifest and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDetails {
    /// The name it goes by.
    pub name: String,
    /// With its platform.
    pub descriptor: Descriptor,
    /// The manifest.
    pub document: Document,
}

impl Engine {
    /// The document a name stands for: that of a list that is made here, else what the registry has. An ID means the image
    /// of the store. What the registry has is asked each time, because scripts ask whether it has been pushed.
    pub async fn manifest_document(&self, name: &str) -> Result<Document> {
        if let Some(found) = self.image_by_id(name).await? {
            return self.blocking(move |engine| of_image(engine.store(), &found.id, found.manifest.as_ref())).await;
        }
        let reference = Reference::parse(name)?;
        match self.find_list(&reference).await? {
            Some(list) => list.document(),
            None => self.ask(&reference).await,
        }
    }

    /// The manifests behind a name one by one, as [`Engine::manifest_document`] finds them; true when an index lists them.
    pub async fn manifest_details(&self, name: &str) -> Result<(Vec<ManifestDetails>, bool)> {
        if let Some(found) = self.image_by_id(name).await? {
            let name = name.to_owned();
            let details = self.blocking(move |engine| {
                let document = of_image(engine.store(), &found.id, found.manifest.as_ref())?;
                let platform = Some(engine.store().image_config(&found.id)?.platform());
                Ok(ManifestDetails { name, descriptor: Descriptor { platform, ..document.descriptor() }, document })
            });
            return Ok((vec![details.await?], false));
        }
        let reference = Reference::parse(name)?;
        if let Some(list) = self.find_list(&reference).await? {
            let mut all = Vec::new();
            for member in &list.members {
                let document = self.member_document(member).await?;
                let name = Reference::parse_name(&member.name).map_or(member.name.clone(), |name| name.familiar());
                all.push(ManifestDetails { name, descriptor: member.descriptor.clone(), document });
            }
            return Ok((all, true));
        }
        let document = self.ask(&reference).await?;
        match document.read()? {
            Contents::Manifest(manifest) => {
                let config = config_of(
                    &reference,
                    &config_bytes(&*self.options().registry, &reference, &manifest.config).await?,
                )?;
                let descriptor = Descriptor { platform: Some(config.platform()), ..document.descriptor() };
                Ok((vec![ManifestDetails { name: reference.familiar(), descriptor, document }], false))
            }
            Contents::Index(index) => {
                let mut all = Vec::new();
                for descriptor in index.manifests {
                    let pinned = Reference::parse(&format!("{}@{}", reference.repository(), descriptor.digest))?;
                    let document = self.options().registry.manifest(&pinned).await?;
                    all.push(ManifestDetails { name: pinned.familiar(), descriptor, document });
                }
                Ok((all, true))
            }
        }
    }

    async fn ask(&self, reference: &Reference) -> Result<Document> {
        self.options().registry.manifest(reference).await.map_err(|error| match error.kind() {
            Kind::NotFound => Error::refused(Kind::NotFound, format!("no such manifest: {}", reference.familiar())),
            _ => error,
        })
    }

    /// The image that an ID, whole or its beginning, means. What can be a name of a registry means that.
    async fn image_by_id(&self, name: &str) -> Result<Option<Resolved>> {
        if Reference::parse(name).is_ok() && !name.starts_with("sha256:") {
            return Ok(None);
        }
        let name = name.to_owned();
        self.blocking(move |engine| engine.store().read(|db| images::resolve(db, &name).map(Some))).await
    }
}

/// The manifest by which an image is meant; of one that was made here, the manifest over its blobs as they are.
pub(super) fn of_image(store: &Store, id: &Digest, manifest: Option<&Digest>) -> Result<Document> {
    if let Some(manifest) = manifest {
        return Ok(document_of(store.read_document(manifest)?, OCI_MANIFEST));
    }
    let mut entries = Vec::new();
    for diff_id in store.read(|db| stack_of(db, id))? {
        let layer = store.read(|db| layer(db, &diff_id))?.ok_or_else(|| layer_missing(&diff_id))?;
        let media_type = layer_type(stored_as(store, &layer.blob)?);
        entries.push(Descriptor::new(&media_type, layer.blob, layer.blob_size));
    }
    let config = Descriptor::new(OCI_CONFIG, id.clone(), store.read_document(id)?.len() as u64);
    new(config, entries, BTreeMap::new())
}
