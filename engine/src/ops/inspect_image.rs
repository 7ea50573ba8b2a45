//! `inspect` of an image: everything that is known about one.

use mica_layer::Digest;

use crate::image::ImageConfig;
use crate::ops::images::CameWith;
use crate::store::images::{collect, one, resolve, tag_rows_of};
use crate::store::remote;
use crate::{Engine, Error, Kind, Reference, Result};

/// Everything that is known about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDetails {
    /// The image's ID.
    pub id: Digest,
    /// Its names, sorted, each with what it came with.
    pub references: Vec<(Reference, CameWith)>,
    /// What registries call it by, `repository@digest`, sorted.
    pub digests: Vec<Reference>,
    /// Digest of the manifest it came with by the name that it was looked up by, when it came with one.
    pub manifest: Option<Digest>,
    /// Its config.
    pub config: ImageConfig,
    /// Bytes of file content in all layers.
    pub size: u64,
    /// When it got its newest name, RFC 3339.
    pub last_tagged: Option<String>,
    /// The driver that holds it unpacked, if one does.
    pub driver: Option<String>,
}

impl Engine {
    /// Finds an image by name, name@digest, or a full or short ID.
    pub async fn inspect_image(&self, name: &str) -> Result<ImageDetails> {
        let name = name.to_owned();
        self.blocking(move |engine| {
            let store = engine.store();
            let found = store.find_image(&name)?;
            store.read(|db| {
                let row = one(db, &found.id)?.ok_or_else(|| {
                    Error::refused(Kind::NotFound, format!("image `{name}` was removed while it was looked at"))
                })?;
                let last_tagged =
                    collect(db, "SELECT max(tagged) FROM tags WHERE image = ?1", [found.id.as_str()], |row| {
                        row.get(0)
                    })?;
                let chain = row.chain_id.as_ref().map(ToString::to_string);
                let driver =
                    collect(db, "SELECT driver FROM snapshots WHERE chain_id = ?1 ORDER BY driver", [chain], |row| {
                        row.get(0)
                    })?;
                Ok(ImageDetails {
                    references: tag_rows_of(db, &found.id)?
                        .into_iter()
                        .map(|tag| (tag.reference, tag.came_with))
                        .collect(),
                    digests: remote::names_of(db, &found.id)?,
                    manifest: resolve(db, &name).ok().and_then(|found| found.manifest).or(row.manifest),
                    size: row.size,
                    last_tagged: last_tagged.into_iter().next().flatten(),
                    driver: driver.into_iter().next(),
                    id: found.id,
                    config: found.config,
                })
            })
        })
        .await
    }
}
