//! `images --tree`: names with the platforms they stand for, whether those are here or not, and what each takes of the disk.
//!
//! Figures count a blob and a tree once, so those of a name with several platforms are no sum of theirs.

use std::collections::{BTreeMap, BTreeSet};

use mica_layer::{ChainId, Digest};
use rusqlite::Connection;

use crate::ops::images::is_called;
use crate::store::images::{collect, digest, parsed, stack_of};
use crate::store::{layers, lists, manifests, remote};
use crate::{Engine, Platform, Reference, Result};

/// A name, or an image without one, with what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTree {
    /// The name.
    pub name: Option<Reference>,
    /// True for a list that is made here.
    pub list: bool,
    /// The image that the name leads to on this machine; `None` for a list of which nothing is here.
    pub image: Option<Digest>,
    /// What all its platforms take.
    pub figures: TreeFigures,
    /// The platforms, as the index has them.
    pub platforms: Vec<PlatformLine>,
}

/// One platform of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformLine {
    /// For what; `None` where nobody says.
    pub platform: Option<Platform>,
    /// Its image, when that is here.
    pub image: Option<Digest>,
    /// What it takes.
    pub figures: TreeFigures,
}

/// What images take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeFigures {
    /// Bytes of blobs: layers as they came, in each compression in which they did, configs, manifests.
    pub content: u64,
    /// The same, and the bytes of the unpacked layers.
    pub disk: u64,
    /// True when a container was made of one of them.
    pub in_use: bool,
}

impl Engine {
    /// Lists names with their platforms, in the order of [`Engine::images`] and with its filters; lists that are made here
    /// come last, and only where nothing but a name is asked for.
    pub async fn image_tree(&self, filters: &[(String, String)]) -> Result<Vec<NamedTree>> {
        let images = self.images(filters).await?;
        let filters = filters.to_vec();
        self.blocking(move |engine| {
            let config = |id: &Digest| engine.store().image_config(id).ok().map(|config| config.platform());
            engine.store().read(|db| {
                let inventory = Inventory::take(db)?;
                let mut trees = Vec::new();
                for image in images {
                    let names: Vec<Option<Reference>> = match image.references.is_empty() {
                        true if image.digests.is_empty() && !image.lists.is_empty() => Vec::new(),
                        true => vec![image.digests.first().cloned()],
                        false => image.references.iter().cloned().map(Some).collect(),
                    };
                    for name in names {
                        let index = name.as_ref().map(|name| remote::index_of(db, name)).transpose()?.flatten();
                        let entries = index.as_ref().map(|index| remote::entries(db, index)).transpose()?;
                        let lines = match entries {
                            Some(entries) => entries,
                            None => vec![(config(&image.id), Some(image.id.clone()))],
                        };
                        let tree = inventory.tree(db, Some(image.id.clone()), lines)?;
                        trees.push(NamedTree { name, ..tree });
                    }
                }
                let patterns: Vec<&str> =
                    filters.iter().filter(|(key, _)| key == "reference").map(|(_, value)| value.as_str()).collect();
                if patterns.len() < filters.len() {
                    return Ok(trees);
                }
                for (name, list) in lists::all(db)? {
                    if patterns.is_empty() || patterns.iter().any(|pattern| is_called(&name, pattern)) {
                        let lines = lists::entries(db, &list)?;
                        let native = lists::native(db, &list)?;
                        let tree = inventory.tree(db, native, lines)?;
                        trees.push(NamedTree { name: Some(name), list: true, ..tree });
                    }
                }
                Ok(trees)
            })
        })
        .await
    }
}

/// What takes the disk, read once for all images.
struct Inventory {
    blobs: BTreeMap<Digest, u64>,
    /// The directories of drivers that hold a chain's top layer.
    objects: BTreeMap<ChainId, Vec<(String, String, u64)>>,
    used: BTreeSet<Digest>,
}

impl Inventory {
    fn take(db: &Connection) -> Result<Inventory> {
        let blobs = collect(db, "SELECT digest, size FROM blobs", [], |row| {
            Ok((digest(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        let sql = "SELECT s.chain_id, o.driver, o.key, o.bytes FROM snapshots s
                   JOIN objects o ON o.driver = s.driver AND o.key = s.key";
        let mut objects: BTreeMap<ChainId, Vec<_>> = BTreeMap::new();
        for (chain, object) in collect(db, sql, [], |row| {
            Ok((parsed::<ChainId>(row, 0)?, (row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?.unsigned_abs())))
        })? {
            objects.entry(chain).or_default().push(object);
        }
        let used = collect(db, "SELECT DISTINCT image FROM containers", [], |row| digest(row, 0))?;
        Ok(Inventory { blobs: blobs.into_iter().collect(), objects, used: used.into_iter().collect() })
    }

    fn tree(
        &self,
        db: &Connection,
        image: Option<Digest>,
        lines: Vec<(Option<Platform>, Option<Digest>)>,
    ) -> Result<NamedTree> {
        let mut whole = Parts::default();
        let mut platforms = Vec::new();
        for (platform, image) in lines {
            let mut own = Parts::default();
            if let Some(image) = &image {
                self.add(db, image, &mut own)?;
                self.add(db, image, &mut whole)?;
            }
            platforms.push(PlatformLine { platform, image, figures: own.figures() });
        }
        Ok(NamedTree { name: None, list: false, image, figures: whole.figures(), platforms })
    }

    fn add(&self, db: &Connection, image: &Digest, parts: &mut Parts) -> Result<()> {
        let stack = stack_of(db, image)?;
        let mut blobs = manifests::of_image(db, image)?;
        blobs.extend(manifests::forms_of(db, image)?);
        blobs.push(image.clone());
        for height in 1..=stack.len() {
            blobs.extend(layers::layer(db, &stack[height - 1])?.map(|layer| layer.blob));
            for (driver, key, bytes) in
                ChainId::of(&stack[..height]).and_then(|id| self.objects.get(&id)).into_iter().flatten()
            {
                parts.objects.insert((driver.clone(), key.clone()), *bytes);
            }
        }
        for blob in blobs {
            let size = self.blobs.get(&blob).copied().unwrap_or_default();
            parts.blobs.insert(blob, size);
        }
        parts.in_use |= self.used.contains(image);
        Ok(())
    }
}

/// What images are made of, each part once.
#[derive(Default)]
struct Parts {
    blobs: BTreeMap<Digest, u64>,
    objects: BTreeMap<(String, String), u64>,
    in_use: bool,
}

impl Parts {
    fn figures(&self) -> TreeFigures {
        let content = self.blobs.values().sum();
        TreeFigures { content, disk: content + self.objects.values().sum::<u64>(), in_use: self.in_use }
    }
}
