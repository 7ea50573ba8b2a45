//! `docker-archive:FILE[:NAME]`: Docker's archive, which holds uncompressed layers and no manifests.
//!
//! What is read from one gets a manifest that describes the layers as they lie there. What is written to one loses its manifest
//! and its compression; its ID, which is the digest of the config, stays.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mica_layer::{Algorithm, Compression, Decoder, Digest, Hasher, Packed, Packing, pack};
use serde_json::json;

use super::Means;
use super::ends::{Source, Target};
use crate::image::ImageConfig;
use crate::layout::{Extent, MANIFEST, Members, Naming, Tar, Writer, corrupt, hashed, refused, scratch};
use crate::manifest::{
    Contents, Descriptor, Document, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, require_image_types,
};
use crate::ops::load::{Announced, docker_images};
use crate::ops::pull::Documents;
use crate::registry::Upload;
use crate::{Error, Kind, LayerBounds, Reference, Result};

/// One image of an archive, with a manifest made for it.
#[derive(Debug)]
pub(super) struct Images {
    members: Members,
    shown: String,
    manifest: Document,
    config: Vec<u8>,
    layers: HashMap<Digest, Layer>,
}

/// Where a layer's bytes are.
#[derive(Debug)]
enum Layer {
    Member(Extent),
    /// In a nameless file, compressed.
    Packed(File),
}

impl Images {
    /// Finds the image; `packs` compresses its layers.
    pub(super) fn open(means: &Means, path: &Path, name: Option<&Reference>, packs: bool) -> Result<Images> {
        let members = crate::layout::open(path, means.bounds, &|| scratch(&means.scratch))?;
        let shown = path.display().to_string();
        let image = pick(docker_images(&members)?, &shown, name)?;
        let mut layers = HashMap::new();
        let mut descriptors = Vec::new();
        for (layer, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            let compression = compression(&members, &layer.extent, &shown)?;
            if packs && compression == Compression::None {
                let (file, packed) = packed(&members, &layer.extent, means)?;
                if packed.diff_id != *diff_id {
                    return Err(corrupt(format!("layer `{diff_id}` of `{shown}` has the digest `{}`", packed.diff_id)));
                }
                let media_type = format!("{OCI_LAYER}+gzip");
                descriptors.push(Descriptor::new(&media_type, packed.digest.clone(), packed.size));
                layers.insert(packed.digest, Layer::Packed(file));
                continue;
            }
            let digest = match (&layer.expected, compression) {
                (Some(digest), _) => digest.clone(),
                (None, Compression::None) => diff_id.0.clone(),
                (None, _) => digest_of(&members, &layer.extent, &shown)?,
            };
            let media_type = match compression {
                Compression::None => OCI_LAYER.to_owned(),
                packed => format!("{OCI_LAYER}+{}", packed.name()),
            };
            descriptors.push(Descriptor::new(&media_type, digest.clone(), layer.extent.size));
            layers.insert(digest, Layer::Member(layer.extent.clone()));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Descriptor::of(OCI_CONFIG, &image.config_bytes),
            "layers": descriptors,
        });
        let manifest = Document::new(OCI_MANIFEST, manifest.to_string().into_bytes());
        Ok(Images { members, shown, manifest, config: image.config_bytes, layers })
    }
}

/// The image that is meant.
fn pick(images: Vec<Announced>, shown: &str, name: Option<&Reference>) -> Result<Announced> {
    let known: Vec<String> =
        images.iter().flat_map(|image| &image.references).take(20).map(Reference::familiar).collect();
    let hint = format!("its names are: {}", known.join(", "));
    let count = images.len();
    let found = match name {
        Some(name) => images.into_iter().find(|image| image.references.contains(name)),
        None if count > 1 => {
            return Err(refused(format!("`{shown}` holds several images, and none is named")).with_hint(hint));
        }
        None => images.into_iter().next(),
    };
    found.ok_or_else(|| {
        let name = name.map_or("any".to_owned(), |name| format!("the name `{}`", name.familiar()));
        Error::refused(Kind::NotFound, format!("`{shown}` holds no image of {name}")).with_hint(hint)
    })
}

fn compression(members: &Members, layer: &Extent, shown: &str) -> Result<Compression> {
    let mut first = Vec::new();
    members.reader(layer)?.take(6).read_to_end(&mut first).map_err(Error::io("read", shown))?;
    Compression::detect(&first).map_err(|source| Error::Layer { operation: "read", layer: shown.to_owned(), source })
}

/// A layer compressed by gzip.
fn packed(members: &Members, layer: &Extent, means: &Means) -> Result<(File, Packed)> {
    let mut file = scratch(&means.scratch)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let packed = pack(&mut members.reader(layer)?, Packing::default(), threads, &mut file);
    let packed = packed.map_err(|source| Error::Layer {
        operation: "compress",
        layer: means.scratch.display().to_string(),
        source,
    })?;
    Ok((file, packed))
}

fn digest_of(members: &Members, layer: &Extent, shown: &str) -> Result<Digest> {
    let mut hasher = Hasher::with(Algorithm::Sha256);
    let mut reader = members.reader(layer)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer).map_err(Error::io("read", shown))? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[async_trait]
impl Documents for Images {
    fn called(&self) -> String {
        self.shown.clone()
    }

    async fn listed(&self, entry: &Descriptor) -> Result<Document> {
        Err(Error::refused(Kind::Internal, format!("a docker-archive lists no `{}`", entry.digest)))
    }
}

#[async_trait]
impl Source for Images {
    async fn named(&self) -> Result<Document> {
        Ok(self.manifest.clone())
    }

    async fn read(&self, blob: &Descriptor, range: Range<u64>) -> Result<Vec<u8>> {
        let length = usize::try_from(range.end - range.start).unwrap_or_default();
        let begin = usize::try_from(range.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let read = match self.layers.get(&blob.digest) {
            Some(Layer::Member(extent)) => self.members.reader(extent)?.read_exact_at(&mut bytes, range.start),
            Some(Layer::Packed(file)) => file.read_exact_at(&mut bytes, range.start),
            None => return Ok(self.config.get(begin..begin + length).unwrap_or_default().to_vec()),
        };
        read.map(|()| bytes).map_err(Error::io("read", &self.shown))
    }
}

/// An archive of one image that is being written. Its blobs wait in nameless files, because an archive wants to know the size of
/// a layer first.
pub(super) struct ArchiveTarget {
    tar: Mutex<Option<Tar>>,
    name: Option<Reference>,
    scratch: PathBuf,
    bounds: LayerBounds,
    blobs: Arc<Mutex<HashMap<Digest, File>>>,
}

impl ArchiveTarget {
    pub(super) fn create(means: &Means, path: &Path, name: Option<Reference>) -> Result<ArchiveTarget> {
        if let Some(name) = name.as_ref().filter(|name| name.tag().is_none()) {
            let message = format!("an image in a docker-archive has a tag and no digest, unlike `{}`", name.familiar());
            return Err(Error::refused(Kind::InvalidInput, message));
        }
        let tar = Mutex::new(Some(Tar::into_file(path, means.umask)?));
        let (scratch, bounds) = (means.scratch.clone(), means.bounds);
        Ok(ArchiveTarget { tar, name, scratch, bounds, blobs: Arc::default() })
    }

    fn blob(&self, digest: &Digest) -> Result<File> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let file =
            blobs.get(digest).ok_or_else(|| Error::refused(Kind::Internal, format!("`{digest}` did not come")))?;
        let mut file = file.try_clone().map_err(Error::io("reopen", &self.scratch))?;
        file.rewind().map_err(Error::io("rewind", &self.scratch))?;
        Ok(file)
    }

    /// A layer without its compression, and its size.
    fn plain(&self, layer: &Descriptor) -> Result<(File, u64)> {
        let failed = |source| Error::Layer { operation: "decompress", layer: layer.digest.to_string(), source };
        let mut decoder = Decoder::new(self.blob(&layer.digest)?).map_err(failed)?;
        if decoder.compression() == Compression::None {
            return Ok((self.blob(&layer.digest)?, layer.size));
        }
        let limit = self.bounds.bytes_of(layer.size);
        let mut file = scratch(&self.scratch)?;
        let size = std::io::copy(&mut (&mut decoder).take(limit.saturating_add(1)), &mut file)
            .map_err(Error::io("decompress into", &self.scratch))?;
        if size > limit {
            let limit = mica_layer::Error::Limit { what: "bytes", limit };
            return Err(self.bounds.exceeded(&format!("layer `{}`", layer.digest), &limit));
        }
        file.rewind().map_err(Error::io("rewind", &self.scratch))?;
        Ok((file, size))
    }

    fn write(&self, tar: &mut Tar, manifest: &Manifest) -> Result<()> {
        let mut config = Vec::new();
        self.blob(&manifest.config.digest)?.read_to_end(&mut config).map_err(Error::io("read", &self.scratch))?;
        let parsed: ImageConfig = serde_json::from_slice(&config)
            .map_err(|error| refused(format!("config `{}` cannot be read: {error}", manifest.config.digest)))?;
        let diff_ids = &parsed.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let (listed, announced) = (manifest.layers.len(), diff_ids.len());
            return Err(corrupt(format!("the manifest lists {listed} layers for an image of {announced}")));
        }
        tar.folder("blobs")?;
        tar.folder("blobs/sha256")?;
        let mut names: Vec<String> = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let name = Naming::Oci.blob(&diff_id.0);
            if !names.contains(&name) {
                let (file, size) = self.plain(layer)?;
                hashed(tar, &name, (&diff_id.0, size), file)?;
            }
            names.push(name);
        }
        let own = Naming::Oci.blob(&manifest.config.digest);
        tar.member(&own, config.len() as u64, &mut &config[..])?;
        let tags: Vec<String> = self.name.iter().map(Reference::familiar).collect();
        let entries = json!([{ "Config": own, "RepoTags": tags, "Layers": names }]).to_string();
        tar.member(MANIFEST, entries.len() as u64, &mut entries.as_bytes())
    }
}

#[async_trait]
impl Target for ArchiveTarget {
    fn check(&self, named: &Document) -> Result<()> {
        match named.read()? {
            Contents::Manifest(manifest) => require_image_types(&manifest),
            Contents::Index(_) => Err(Error::refused(Kind::Unsupported, "a docker-archive holds no index")
                .with_hint("leave out `--all`, or copy to an oci-archive")),
        }
    }

    async fn has(&self, _blob: &Descriptor, _from: Option<&Reference>) -> Result<bool> {
        Ok(false)
    }

    async fn begin(&self, _blob: &Descriptor) -> Result<Box<dyn Upload>> {
        let (file, blobs) = (scratch(&self.scratch)?, Arc::clone(&self.blobs));
        Ok(Box::new(Waiting { file, blobs, scratch: self.scratch.clone() }))
    }

    async fn listed(&self, document: &Document) -> Result<()> {
        Err(Error::refused(Kind::Internal, format!("a docker-archive cannot hold `{}`", document.digest)))
    }

    async fn finish(&self, named: &Document) -> Result<()> {
        let Contents::Manifest(manifest) = named.read()? else { return self.check(named) };
        let mut tar = self.tar.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut tar) = tar.take() else { return Ok(()) };
        self.write(&mut tar, &manifest)?;
        Box::new(tar).finish()
    }
}

/// A blob that waits for the archive.
struct Waiting {
    file: File,
    blobs: Arc<Mutex<HashMap<Digest, File>>>,
    scratch: PathBuf,
}

#[async_trait]
impl Upload for Waiting {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.scratch))
    }

    async fn finish(self: Box<Self>, digest: &Digest) -> Result<()> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), self.file);
        Ok(())
    }
}
