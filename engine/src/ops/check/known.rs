//! What the rows say at the beginning of a check: who needs which layer and which document, and every stack by its chain IDs.

use std::collections::{BTreeMap, BTreeSet};

use mica_layer::{ChainId, DiffId, Digest};
use rusqlite::Connection;

use crate::ops::images::summaries;
use crate::store::images::{collect, digest, parsed};
use crate::store::manifests;
use crate::{Reference, Result};

/// The rows that say what is hit.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Image names by the layers they need.
    by_layer: BTreeMap<DiffId, BTreeSet<String>>,
    /// Image names by their documents, and by the blobs that their manifests list.
    by_document: BTreeMap<Digest, BTreeSet<String>>,
    /// Stacks of images, containers and cached build steps, each once.
    pub(super) stacks: BTreeSet<Vec<DiffId>>,
    /// The whole stack of each chain ID that a known stack passes through.
    by_chain: BTreeMap<ChainId, Vec<DiffId>>,
}

impl Known {
    pub(super) fn read(db: &Connection) -> Result<Known> {
        let mut known = Known::default();
        let mut of_images: BTreeMap<Digest, Vec<DiffId>> = BTreeMap::new();
        let sql = "SELECT image, diff_id FROM image_layers ORDER BY image, position";
        for (image, layer) in collect(db, sql, [], |row| Ok((digest(row, 0)?, digest(row, 1).map(DiffId)?)))? {
            of_images.entry(image).or_default().push(layer);
        }
        for image in summaries(db)? {
            let name = image.references.first().map_or_else(|| image.id.short().to_owned(), Reference::familiar);
            let stack = of_images.remove(&image.id).unwrap_or_default();
            for layer in &stack {
                known.by_layer.entry(layer.clone()).or_default().insert(name.clone());
            }
            known.by_document.entry(image.id.clone()).or_default().insert(name.clone());
            for manifest in manifests::of_image(db, &image.id)? {
                let own = image.came_with.iter().filter(|(_, with)| with.manifest.as_ref() == Some(&manifest));
                let mut names: BTreeSet<String> = own.map(|(reference, _)| reference.familiar()).collect();
                if names.is_empty() {
                    names.insert(name.clone());
                }
                let blobs = manifests::blobs_of(db, &manifest)?.into_iter().map(|(_, blob, _)| blob);
                for document in blobs.chain([manifest]) {
                    known.by_document.entry(document).or_default().extend(names.clone());
                }
            }
            known.stacks.insert(stack);
        }
        let lists: Vec<String> = collect(
            db,
            "SELECT json_extract(record, '$.diff_ids') FROM containers UNION SELECT stack FROM build_cache",
            [],
            |row| row.get::<_, Option<String>>(0).map(Option::unwrap_or_default),
        )?;
        known.stacks.extend(lists.iter().filter_map(|list| serde_json::from_str::<Vec<DiffId>>(list).ok()));
        known.stacks.remove(&Vec::new());
        for stack in &known.stacks {
            for (length, chain) in ChainId::chain(stack).into_iter().enumerate() {
                known.by_chain.entry(chain).or_insert_with(|| stack[..=length].to_vec());
            }
        }
        Ok(known)
    }

    /// The layers of a chain, bottom first.
    pub(super) fn stack_of(&self, chain: &ChainId) -> Option<&[DiffId]> {
        self.by_chain.get(chain).map(Vec::as_slice)
    }

    /// The images that need a layer.
    pub(super) fn of_layer(&self, layer: &DiffId) -> Vec<String> {
        self.by_layer.get(layer).into_iter().flatten().cloned().collect()
    }

    /// The images that need a document.
    pub(super) fn of_document(&self, document: &Digest) -> Vec<String> {
        self.by_document.get(document).into_iter().flatten().cloned().collect()
    }
}

/// A chain on a driver, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainRow {
    pub(super) driver: String,
    pub(super) chain_id: ChainId,
    pub(super) parent: Option<ChainId>,
    pub(super) diff_id: DiffId,
    pub(super) key: String,
    pub(super) linear: bool,
    pub(super) broken: bool,
    /// Broken for all that is known: it was not on the disk when the machine went down.
    pub(super) unflushed: bool,
}

/// Every chain on every driver.
pub(super) fn chains(db: &Connection) -> Result<Vec<ChainRow>> {
    collect(
        db,
        "SELECT s.driver, s.chain_id, s.parent, s.diff_id, s.key, s.linear, coalesce(o.broken, 1), o.boot IS NOT NULL
         FROM snapshots s LEFT JOIN objects o ON o.driver = s.driver AND o.key = s.key",
        [],
        |row| {
            Ok(ChainRow {
                driver: row.get(0)?,
                chain_id: ChainId(parsed(row, 1)?),
                parent: row.get::<_, Option<String>>(2)?.map(|_| parsed(row, 2)).transpose()?.map(ChainId),
                diff_id: DiffId(parsed(row, 3)?),
                key: row.get(4)?,
                linear: row.get(5)?,
                broken: row.get(6)?,
                unflushed: row.get::<_, bool>(6)? && row.get(7)?,
            })
        },
    )
}

/// `hits …`, for the end of a message.
pub(super) fn hits(images: &[String]) -> String {
    match images {
        [] => "no image needs it".to_owned(),
        images => format!("hits {}", images.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}
