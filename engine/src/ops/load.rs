//! `load`: archives written by `save`, by Docker, Podman and skopeo become images.
//!
//! The archive's members are found first and everything it announces is checked: names, sizes, digests, media types, the
//! number of layers. Only then are layers copied out of it, verified while they are unpacked, and given their rows.

mod docker;
mod members;
mod oci;

use std::fs::File;
use std::io::{Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_layer::{Compression, Decoder, DiffId, Digest};
use rustix::fs::{Mode, OFlags};

use crate::image::ImageConfig;
use crate::ops::publish::NewImage;
use crate::storage::materialise::{LayerInput, LayerSource};
use crate::store::Store;
use crate::{Engine, Error, Kind, Reference, Result};
use members::{Extent, Members, refused};

/// Where an archive comes from.
pub enum ArchiveSource {
    /// A file, read in place.
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
}

impl Engine {
    /// Loads every image of an archive. Images before one that is refused stay loaded.
    pub async fn load(&self, source: ArchiveSource, progress: Arc<dyn LoadProgress>) -> Result<Vec<Loaded>> {
        self.blocking(move |engine| {
            let members = Members::read(open(engine.store(), source)?)?;
            let images = announced(&members)?;
            let driver = engine.selected_driver()?;
            let mut loaded = Vec::new();
            for image in images {
                let source = Bytes { store: engine.store(), members: &members, layers: &image.layers };
                let made = engine.materialise(&driver, &image.config.rootfs.diff_ids, &source, &*progress)?;
                let references = image.references.clone();
                let published = engine.publish(&driver, &made.rows, &[image.into_new()], &[])?;
                loaded.extend(published.into_iter().map(|image| Loaded {
                    image: image.id,
                    references: references.clone(),
                    replaced: image.replaced,
                }));
            }
            Ok(loaded)
        })
        .await
    }
}

/// The names of the images in an archive, image by image, after everything it announces has been checked. Nothing is
/// copied out of it and no store is needed.
pub fn names_in(archive: File) -> Result<Vec<Vec<Reference>>> {
    let images = announced(&Members::read(archive)?)?;
    Ok(images.into_iter().map(|image| image.references).collect())
}

/// An image as an archive announces it.
#[derive(Debug)]
struct Announced {
    config_bytes: Vec<u8>,
    config: ImageConfig,
    manifest: Option<Vec<u8>>,
    references: Vec<Reference>,
    /// As many as the config has diff IDs.
    layers: Vec<LayerBytes>,
}

impl Announced {
    fn into_new(self) -> NewImage {
        NewImage {
            config_bytes: self.config_bytes,
            config: self.config,
            manifest: self.manifest,
            references: self.references,
        }
    }
}

/// Where a layer's bytes lie, and what they must be.
#[derive(Debug)]
struct LayerBytes {
    extent: Extent,
    expected: Option<Digest>,
}

fn announced(members: &Members) -> Result<Vec<Announced>> {
    let images = if members.contains(docker::MANIFEST) {
        docker::announced(members)?
    } else if members.contains(oci::INDEX) {
        oci::announced(members)?
    } else {
        return Err(refused(format!(
            "the archive has neither `{}` nor `{}`, so it is not one of images",
            docker::MANIFEST,
            oci::INDEX
        ))
        .with_hint("`mica import` makes an image of the archive of a root file system"));
    };
    if images.is_empty() {
        return Err(refused("the archive holds no image for this machine".to_owned()));
    }
    Ok(images)
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
}

impl LayerSource for Bytes<'_> {
    fn open(&self, index: usize) -> Result<LayerInput> {
        let layer = &self.layers[index];
        let mut ingest = self.members.take(self.store, layer.extent)?;
        let path = ingest.path().to_owned();
        let mut file = ingest.file().try_clone().map_err(Error::io("reopen", &path))?;
        file.rewind().map_err(Error::io("rewind", path))?;
        Ok(LayerInput { file, keep: Some(ingest), expected: layer.expected.clone(), size: layer.extent.size })
    }
}

/// The archive as an uncompressed file: in place where it is one, else spooled into the store and nameless there.
fn open(store: &Store, source: ArchiveSource) -> Result<File> {
    match source {
        ArchiveSource::Stream(stream) => spool(store, stream, Path::new("standard input")),
        ArchiveSource::File(path) => {
            let fail = Error::io("open", &path);
            let file: File = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| fail(errno.into()))?
                .into();
            let found = file.metadata().map_err(Error::io("stat", &path))?;
            if found.is_dir() {
                return Err(Error::refused(
                    Kind::InvalidInput,
                    format!("`{}` is a directory, not an archive", path.display()),
                ));
            }
            if !found.is_file() {
                return spool(store, Box::new(file), &path);
            }
            let mut first = [0; 6];
            let count = std::os::unix::fs::FileExt::read_at(&file, &mut first, 0).map_err(Error::io("read", &path))?;
            match Compression::detect(&first[..count]).map_err(|source| unreadable(&path, source))? {
                Compression::None => Ok(file),
                _ => spool(store, Box::new(file), &path),
            }
        }
    }
}

fn spool(store: &Store, source: Box<dyn Read + Send>, name: &Path) -> Result<File> {
    let mut decoder = Decoder::new(source).map_err(|source| unreadable(name, source))?;
    let mut ingest = store.ingest()?;
    std::io::copy(&mut decoder, ingest.file()).map_err(Error::io("read", name))?;
    // Dropping the ingest takes its name away; the descriptor keeps the bytes.
    let path = ingest.path().to_owned();
    ingest.file().try_clone().map_err(Error::io("reopen", path))
}

fn unreadable(name: &Path, source: mica_layer::Error) -> Error {
    Error::Layer { operation: "read", layer: name.display().to_string(), source }
}
