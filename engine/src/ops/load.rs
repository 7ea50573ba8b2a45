//! `load`: archives written by `save`, by Docker, Podman and skopeo become images, and so do layouts in folders.
//!
//! The members are found first and everything they announce is checked: names, sizes, digests, media types, the number of
//! layers. Only then are layers copied out, verified while they are unpacked, and given their rows. Images of one index come
//! together: the one for this machine gets the name, and is the last that gets its rows.

mod docker;
mod oci;

pub(crate) use oci::{dir_document, listed};

use std::fs::File;
use std::io::{Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_layer::{DiffId, Digest};

use crate::events::{Actor, Event};
use crate::image::ImageConfig;
use crate::layout::{self, Extent, INDEX, MANIFEST, Members, Naming, refused};
use crate::manifest::Document;
use crate::ops::publish::NewImage;
use crate::storage::materialise::{Keep, LayerInput, LayerSource};
use crate::storage::reap::Patience;
use crate::store::images::one;
use crate::store::{Flush, Store};
use crate::{Engine, Error, Platform, Reference, Result};

/// Where an archive comes from.
pub enum ArchiveSource {
    /// A file, read in place, or the folder of a layout.
    File(PathBuf),
    /// A stream, spooled into the store first because its index stands at its end.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for ArchiveSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// What `load` reports while it goes on; called from several threads at once.
pub trait LoadProgress: Send + Sync {
    /// A layer is about to be unpacked; `size` is that of its archive.
    fn layer_begin(&self, layer: &DiffId, size: u64);
    /// So many bytes of the layer's archive have been read.
    fn layer_bytes(&self, layer: &DiffId, done: u64);
    /// The layer is whole, or was there already.
    fn layer_end(&self, layer: &DiffId);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl LoadProgress for Silent {
    fn layer_begin(&self, _layer: &DiffId, _size: u64) {}
    fn layer_bytes(&self, _layer: &DiffId, _done: u64) {}
    fn layer_end(&self, _layer: &DiffId) {}
}

/// One image of a loaded archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image's ID.
    pub image: Digest,
    /// The names it was given; none when the archive has none.
    pub references: Vec<Reference>,
    /// Names that another image had before, with that image's ID.
    pub replaced: Vec<(Reference, Digest)>,
    /// What it is for, when it came without a name beside the one that got it.
    pub other_platform: Option<Platform>,
}

impl Engine {
    /// Loads every image of an archive or a layout. Images before one that is refused stay loaded; of a refused one, and of
    /// those beside it in its index, nothing stays.
    pub async fn load(&self, source: ArchiveSource, progress: Arc<dyn LoadProgress>) -> Result<Vec<Loaded>> {
        self.blocking(move |engine| {
            let mut members = engine.members_of(source)?;
            let groups = announced(&mut members)?;
            let mut loaded = Vec::new();
            for group in groups {
                match engine.load_group(&members, group, &*progress) {
                    Ok(images) => loaded.extend(images),
                    Err(error) => {
                        engine.take_away_remains();
                        return Err(error);
                    }
                }
            }
            engine.settle_soon()?;
            let name =
                |image: &Loaded| image.references.first().map_or_else(|| image.image.to_string(), Reference::familiar);
            let told = loaded.iter().map(|image| Actor::named(image.image.as_str(), &name(image)));
            engine.tell_all(&told.map(|actor| Event::now("image", "load", actor)).collect::<Vec<_>>());
            Ok(loaded)
        })
        .await
    }

    /// Loads the images that one entry stands for.
    fn load_group(&self, members: &Members, group: Group, progress: &dyn LoadProgress) -> Result<Vec<Loaded>> {
        let mut loaded = Vec::new();
        let mut fresh = Vec::new();
        for image in group.in_order() {
            let id = Digest::sha256_of(&image.config_bytes);
            if self.store().read(|db| one(db, &id))?.is_none() {
                fresh.push(id);
            }
            match self.load_one(members, image, progress) {
                Ok(images) => loaded.extend(images),
                Err(error) => {
                    self.forget_nameless(&fresh)?;
                    return Err(error);
                }
            }
        }
        // The one with the name is told first.
        loaded.reverse();
        Ok(loaded)
    }

    fn load_one(&self, members: &Members, image: Announced, progress: &dyn LoadProgress) -> Result<Vec<Loaded>> {
        let driver = self.selected_driver()?;
        let source = Bytes { store: self.store(), members, layers: &image.layers, listed: image.manifest.is_some() };
        let made = self.materialise(&driver, &image.config.rootfs.diff_ids, &source, progress)?;
        let (references, other_platform) = (image.references.clone(), image.other_platform.clone());
        let published = self.publish(&driver, &made.rows, &[image.into_new()], &[])?;
        let loaded = published.into_iter().map(|image| Loaded {
            image: image.id,
            references: references.clone(),
            replaced: image.replaced,
            other_platform: other_platform.clone(),
        });
        Ok(loaded.collect())
    }

    /// Takes the rows of images away that came without a name, beside one that was refused.
    fn forget_nameless(&self, images: &[Digest]) -> Result<()> {
        self.store().write(Flush::Now, |db| {
            for id in images {
                let sql = "SELECT 1 FROM tags WHERE image = ?1 UNION ALL SELECT 1 FROM containers WHERE image = ?1";
                if crate::store::images::collect(db, sql, [id.as_str()], |_| Ok(()))?.is_empty() {
                    crate::store::images::delete(db, id)?;
                }
            }
            Ok(())
        })?;
        if images.is_empty() { Ok(()) } else { self.reclaim(Patience::Leave).map(drop) }
    }

    fn members_of(&self, source: ArchiveSource) -> Result<Members> {
        let bounds = self.options().layer_bounds;
        let room = || {
            // Dropping the ingest takes its name away; the descriptor keeps the bytes.
            let mut ingest = self.store().ingest()?;
            let path = ingest.path().to_owned();
            ingest.file().try_clone().map_err(Error::io("reopen", path))
        };
        match source {
            ArchiveSource::Stream(mut stream) => layout::read(&mut stream, Path::new("standard input"), bounds, &room),
            ArchiveSource::File(path) => layout::open(&path, bounds, &room),
        }
    }
}

/// The names of the images in an archive, image by image, after everything it announces has been checked. Nothing is
/// copied out of it and no store is needed.
pub fn names_in(archive: File) -> Result<Vec<Vec<Reference>>> {
    let groups = announced(&mut Members::of_archive(archive)?)?;
    Ok(groups.into_iter().flat_map(|group| group.images).map(|image| image.references).collect())
}

/// Images that one entry stands for.
#[derive(Debug)]
pub(crate) struct Group {
    /// All of them; the names are with the one that suits this machine best.
    images: Vec<Announced>,
}

impl Group {
    /// The one with the names last.
    fn in_order(mut self) -> Vec<Announced> {
        // An index that no name stands for is of no use to anybody.
        if self.images.iter().all(|image| image.references.is_empty()) {
            self.images.iter_mut().for_each(|image| image.index = None);
        }
        let (named, others): (Vec<_>, Vec<_>) =
            self.images.into_iter().partition(|image| image.other_platform.is_none());
        others.into_iter().chain(named).collect()
    }
}

/// An image as an archive announces it.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) config_bytes: Vec<u8>,
    pub(crate) config: ImageConfig,
    manifest: Option<Vec<u8>>,
    /// The index that stands for its names, or that lists it beside the one with the names.
    index: Option<Arc<Document>>,
    pub(crate) references: Vec<Reference>,
    /// Set where another image of the same index has the names.
    other_platform: Option<Platform>,
    /// As many as the config has diff IDs.
    pub(crate) layers: Vec<LayerBytes>,
}

impl Announced {
    fn into_new(self) -> NewImage {
        NewImage {
            config_bytes: self.config_bytes,
            config: self.config,
            manifest: self.manifest,
            index: self.index,
            references: self.references,
            origin: None,
        }
    }
}

/// Where a layer's bytes lie, and what they must be.
#[derive(Debug)]
pub(crate) struct LayerBytes {
    pub(crate) extent: Extent,
    pub(crate) expected: Option<Digest>,
}

/// What members announce, after its kind: Docker's archive, skopeo's `dir:`, or a layout of the image specification.
fn announced(members: &mut Members) -> Result<Vec<Group>> {
    let groups = if members.contains(MANIFEST) {
        let bytes = members.document(MANIFEST)?;
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {
                members.naming = Naming::Dir;
                oci::announced_in_dir(members, bytes)?
            }
            _ => docker::announced(members, &bytes)?.into_iter().map(|image| Group { images: vec![image] }).collect(),
        }
    } else if members.contains(INDEX) {
        oci::announced(members)?
    } else {
        return Err(refused(
            format!("the archive has neither `{MANIFEST}` nor `{INDEX}`, so it is not one of images",),
        )
        .with_hint("`mica import` makes an image of the archive of a root file system"));
    };
    if groups.is_empty() {
        return Err(refused("the archive holds no image".to_owned()));
    }
    Ok(groups)
}

/// The images that Docker's `manifest.json` lists.
pub(crate) fn docker_images(members: &Members) -> Result<Vec<Announced>> {
    docker::announced(members, &members.document(MANIFEST)?)
}

/// Reads a config and refuses one that no root file system can be made of.
fn config_of(bytes: &[u8]) -> Result<ImageConfig> {
    let config: ImageConfig = serde_json::from_slice(bytes)
        .map_err(|error| refused(format!("the image's config cannot be read: {error}")))?;
    if config.rootfs.kind != "layers" {
        let shown: String = config.rootfs.kind.chars().take(200).flat_map(char::escape_debug).collect();
        return Err(refused(format!("the image's root file system has the type `{shown}` instead of `layers`")));
    }
    Ok(config)
}

/// Layers out of an archive.
struct Bytes<'a> {
    store: &'a Store,
    members: &'a Members,
    layers: &'a [LayerBytes],
    /// Whether a manifest lists the layers.
    listed: bool,
}

impl LayerSource for Bytes<'_> {
    fn listed(&self, index: usize) -> Option<Digest> {
        self.layers[index].expected.clone().filter(|_| self.listed)
    }

    fn open(&self, index: usize) -> Result<LayerInput> {
        let layer = &self.layers[index];
        let mut ingest = self.members.take(self.store, &layer.extent)?;
        let path = ingest.path().to_owned();
        let mut file = ingest.file().try_clone().map_err(Error::io("reopen", &path))?;
        file.rewind().map_err(Error::io("rewind", path))?;
        Ok(LayerInput {
            bytes: Box::new(file),
            keep: Some(Keep::Ingest(ingest)),
            expected: layer.expected.clone(),
            size: layer.extent.size,
        })
    }
}
