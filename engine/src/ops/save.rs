//! `save`: images become an archive or a folder that Docker, Podman and skopeo read.
//!
//! One image appears once, whatever number of its names were asked for. Blobs are named by their digests and shared by
//! the images of an archive. What came from a registry keeps its manifest, and the index that its name stands for.

mod blobs;
mod choose;

use std::io::Write;
use std::path::PathBuf;

use mica_layer::{Compression, DiffId, Digest};
use serde_json::{Value, json};

use crate::events::{Actor, Event};
use crate::layout::{
    INDEX, MANIFEST, Naming, NewFolder, OCI_LAYOUT, OCI_LAYOUT_CONTENT, Tar, VERSION, VERSION_CONTENT, Writer,
};
use crate::list::ManifestList;
use crate::manifest::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, Descriptor, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
};
use crate::{Engine, Error, Kind, Platform, Reference, Result};
use blobs::Blobs;
use choose::{Chosen, Image};

/// What is saved, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveRequest {
    /// The images, by reference or ID.
    pub names: Vec<String>,
    /// What the result looks like.
    pub format: ArchiveFormat,
    /// Whether layers that are stored uncompressed are compressed on the way.
    pub compress: bool,
    /// Which image of those that a name stands for.
    pub platform: Option<Platform>,
}

impl SaveRequest {
    /// These images as they are.
    pub fn new(names: &[String], format: ArchiveFormat) -> SaveRequest {
        SaveRequest { names: names.to_vec(), format, compress: false, platform: None }
    }
}

/// What an archive or folder looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveFormat {
    /// `manifest.json` and `repositories` over a valid OCI layout, as Docker writes since version 25.
    #[default]
    Docker,
    /// An OCI layout alone.
    Oci,
    /// One image with a manifest of Docker's schema 2, as skopeo's `dir:` has it.
    DockerDir,
}

/// Where it goes.
pub enum SaveTarget {
    /// Into a stream, as an archive.
    Stream(Box<dyn Write + Send>),
    /// Into a file, as an archive. It has its name once it is whole.
    File {
        /// Where.
        path: PathBuf,
        /// What its mode lacks.
        umask: u32,
    },
    /// Into a folder that is new or empty.
    Folder {
        /// Where.
        path: PathBuf,
        /// What the modes in it lack.
        umask: u32,
    },
}

impl std::fmt::Debug for SaveTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(_) => f.write_str("Stream"),
            Self::File { path, .. } => f.debug_tuple("File").field(path).finish(),
            Self::Folder { path, .. } => f.debug_tuple("Folder").field(path).finish(),
        }
    }
}

impl SaveTarget {
    fn open(self) -> Result<Box<dyn Writer>> {
        Ok(match self {
            Self::Stream(sink) => Box::new(Tar::into_stream(sink)),
            Self::File { path, umask } => Box::new(Tar::into_file(&path, umask)?),
            Self::Folder { path, umask } => Box::new(NewFolder::at(&path, umask)?),
        })
    }
}

/// A layer and the blob that holds it.
#[derive(Debug, Clone)]
struct LayerBlob {
    diff_id: DiffId,
    blob: Digest,
    size: u64,
}

/// A manifest or index that was written.
struct Written {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    /// Of an image, the blobs of its layers, bottom first.
    layers: Vec<Digest>,
}

impl Engine {
    /// Writes images to `target`.
    pub async fn save(&self, request: SaveRequest, target: SaveTarget) -> Result<()> {
        self.blocking(move |engine| {
            check(&request, &target)?;
            let store = engine.store();
            let chosen = choose::choose(store, &request)?;
            let naming = if request.format == ArchiveFormat::DockerDir { Naming::Dir } else { Naming::Oci };
            let mut out = Blobs::new(store, target.open()?, naming)?;
            let mut written = Vec::new();
            for entry in &chosen {
                written.push(match request.format {
                    ArchiveFormat::Docker => write_plain(&mut out, &entry.image)?,
                    ArchiveFormat::Oci => write_entry(&mut out, entry, request.compress)?,
                    ArchiveFormat::DockerDir => write_for_docker(&mut out, &entry.image, request.compress)?,
                });
            }
            finish(out, request.format, &chosen, &written)?;
            let told = request.names.iter().map(|name| Event::now("image", "save", Actor::named(name, name)));
            engine.tell_all(&told.collect::<Vec<_>>());
            Ok(())
        })
        .await
    }
}

/// Refuses what does not go together, before anything is made.
fn check(request: &SaveRequest, target: &SaveTarget) -> Result<()> {
    let refuse = |message: &str| Err(Error::refused(Kind::InvalidInput, message));
    match (request.format, target) {
        (ArchiveFormat::Docker, SaveTarget::Folder { .. }) => refuse("a docker-archive is no folder"),
        (ArchiveFormat::DockerDir, SaveTarget::Stream(_) | SaveTarget::File { .. }) => {
            refuse("a docker-dir is no archive")
        }
        (ArchiveFormat::Docker, _) if request.compress => {
            refuse("the layers of a docker-archive are never compressed: choose another `--format` for `--compress`")
        }
        (ArchiveFormat::DockerDir, _) if request.names.len() > 1 => refuse("a docker-dir holds one image"),
        _ => Ok(()),
    }
}

/// Writes what leads to the blobs, last of all what makes the whole readable.
fn finish(mut out: Blobs<'_>, format: ArchiveFormat, chosen: &[Chosen], written: &[Written]) -> Result<()> {
    match format {
        ArchiveFormat::DockerDir => {
            out.member(VERSION, VERSION_CONTENT.as_bytes())?;
            let manifest = written.first().map(|written| &written.bytes[..]).unwrap_or_default();
            out.member(MANIFEST, manifest)?;
        }
        ArchiveFormat::Docker => {
            out.member(OCI_LAYOUT, OCI_LAYOUT_CONTENT.as_bytes())?;
            out.json("repositories", &repositories(chosen))?;
            out.json(MANIFEST, &docker_manifest(chosen, written))?;
            out.json(INDEX, &index(chosen, written))?;
        }
        ArchiveFormat::Oci => {
            out.member(OCI_LAYOUT, OCI_LAYOUT_CONTENT.as_bytes())?;
            out.json(INDEX, &index(chosen, written))?;
        }
    }
    out.finish()
}

/// Docker's archives hold layers uncompressed, named by their diff IDs.
fn write_plain(out: &mut Blobs<'_>, image: &Image) -> Result<Written> {
    let mut layers = Vec::new();
    for layer in &image.layers {
        let size = out.plain_layer(&layer.blob, &layer.diff_id)?;
        layers.push(Descriptor::new(OCI_LAYER, layer.diff_id.0.clone(), size));
    }
    let written = made(out, image, (OCI_MANIFEST, OCI_CONFIG), layers)?;
    out.document(&written.descriptor, &written.bytes)?;
    Ok(written)
}

/// An entry of a layout: an image, or the index that its name stands for with all of its images that are here.
fn write_entry(out: &mut Blobs<'_>, entry: &Chosen, compress: bool) -> Result<Written> {
    if let Some((list, images)) = &entry.list {
        return write_list(out, list.clone(), images, compress);
    }
    let image = write_as_stored(out, &entry.image, compress)?;
    let Some(index) = entry.index.as_ref().filter(|_| Some(&image.descriptor.digest) == entry.image.manifest.as_ref())
    else {
        return Ok(image);
    };
    for other in &entry.others {
        // One whose layers are stored in another form would have another digest than the index says.
        if own_manifest(out, other)?.is_some() {
            write_as_stored(out, other, false)?;
        }
    }
    let descriptor = index.descriptor();
    out.document(&descriptor, &index.bytes)?;
    Ok(Written { descriptor, bytes: index.bytes.clone(), layers: image.layers })
}

/// A list that is made here, over the manifests that its images get; of those that are not here it says what it knows.
fn write_list(
    out: &mut Blobs<'_>,
    mut list: ManifestList,
    images: &[Option<Image>],
    compress: bool,
) -> Result<Written> {
    for (member, image) in list.members.iter_mut().zip(images) {
        let Some(image) = image else { continue };
        let Descriptor { media_type, digest, size, .. } = write_as_stored(out, image, compress)?.descriptor;
        member.descriptor = Descriptor { media_type, digest, size, ..member.descriptor.clone() };
    }
    let document = list.document()?;
    let descriptor = document.descriptor();
    out.document(&descriptor, &document.bytes)?;
    Ok(Written { descriptor, bytes: document.bytes, layers: Vec::new() })
}

/// Layouts hold blobs as the store has them, under the manifest the image came with if that is still whole.
fn write_as_stored(out: &mut Blobs<'_>, image: &Image, compress: bool) -> Result<Written> {
    if let Some((own, stored)) = own_manifest(out, image)? {
        let unpacked = compress
            && stored.iter().try_fold(false, |any, blob| {
                out.compression(blob).map(|compression| any || compression == Compression::None)
            })?;
        if !unpacked {
            stored.iter().try_for_each(|blob| out.blob(blob).map(drop))?;
            out.blob(&image.id)?;
            let descriptor = own.descriptor();
            out.document(&descriptor, &own.bytes)?;
            return Ok(Written { descriptor, bytes: own.bytes, layers: stored });
        }
    }
    let layers = layers(out, image, compress, OCI_LAYER, '+')?;
    let written = made(out, image, (OCI_MANIFEST, OCI_CONFIG), layers)?;
    out.document(&written.descriptor, &written.bytes)?;
    Ok(written)
}

/// A manifest of Docker's schema 2, that which the image came with where it is one.
fn write_for_docker(out: &mut Blobs<'_>, image: &Image, compress: bool) -> Result<Written> {
    let own = own_manifest(out, image)?.filter(|(own, _)| own.media_type == DOCKER_MANIFEST && !compress);
    if let Some((own, layers)) = own {
        layers.iter().try_for_each(|blob| out.blob(blob).map(drop))?;
        out.blob(&image.id)?;
        return Ok(Written { descriptor: own.descriptor(), bytes: own.bytes, layers });
    }
    let layers = layers(out, image, compress, DOCKER_LAYER, '.')?;
    made(out, image, (DOCKER_MANIFEST, DOCKER_CONFIG), layers)
}

/// The manifest an image came with and the blobs of its layers, as long as the store has them.
fn own_manifest(out: &Blobs<'_>, image: &Image) -> Result<Option<(crate::manifest::Document, Vec<Digest>)>> {
    use crate::manifest::{Contents, Document};
    let Some(digest) = &image.manifest else { return Ok(None) };
    let bytes = out.store().read_document(digest)?;
    let media_type = if is_of_docker(&bytes) { DOCKER_MANIFEST } else { OCI_MANIFEST };
    let document = Document { media_type: media_type.to_owned(), digest: digest.clone(), bytes };
    let Ok(Contents::Manifest(manifest)) = document.read() else { return Ok(None) };
    let listed: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
    let whole = listed.len() == image.layers.len()
        && listed.iter().zip(&image.layers).all(|(blob, layer)| *blob == layer.blob || image.forms.contains(blob));
    Ok(whole.then_some((document, listed)))
}

fn is_of_docker(manifest: &[u8]) -> bool {
    let manifest: Option<Value> = serde_json::from_slice(manifest).ok();
    manifest.is_some_and(|manifest| manifest["mediaType"] == DOCKER_MANIFEST)
}

/// Writes the layers of an image, and describes them.
fn layers(out: &mut Blobs<'_>, image: &Image, compress: bool, base: &str, dot: char) -> Result<Vec<Descriptor>> {
    let mut descriptors = Vec::new();
    for layer in &image.layers {
        let written = if compress { out.packed_layer(layer)? } else { layer.clone() };
        let compression = match written.blob == layer.blob {
            true => {
                out.blob(&layer.blob)?;
                out.compression(&layer.blob)?
            }
            false => Compression::Gzip,
        };
        let media_type = match compression {
            Compression::None => base.to_owned(),
            other => format!("{base}{dot}{}", other.name()),
        };
        descriptors.push(Descriptor::new(&media_type, written.blob, written.size));
    }
    Ok(descriptors)
}

/// Writes the config and makes the manifest of an image that has none of its own.
fn made(
    out: &mut Blobs<'_>,
    image: &Image,
    (media_type, config_type): (&str, &str),
    layers: Vec<Descriptor>,
) -> Result<Written> {
    let config_size = out.blob(&image.id)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": Descriptor::new(config_type, image.id.clone(), config_size),
        "layers": &layers,
    });
    let bytes = manifest.to_string().into_bytes();
    let layers = layers.into_iter().map(|layer| layer.digest).collect();
    Ok(Written { descriptor: Descriptor::of(media_type, &bytes), bytes, layers })
}

/// `index.json`. Names stand there twice: where containerd and Docker look, and where the image spec, skopeo and Podman do.
fn index(chosen: &[Chosen], written: &[Written]) -> Value {
    let mut entries = Vec::new();
    for (entry, written) in chosen.iter().zip(written) {
        for reference in &entry.references {
            let mut descriptor = written.descriptor.clone();
            for key in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
                descriptor.annotations.insert(key.to_owned(), reference.to_string());
            }
            entries.push(descriptor);
        }
        if entry.references.is_empty() {
            entries.push(written.descriptor.clone());
        }
    }
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })
}

fn docker_manifest(chosen: &[Chosen], written: &[Written]) -> Value {
    let entries = chosen.iter().zip(written).map(|(entry, written)| {
        json!({
            "Config": Naming::Oci.blob(&entry.image.id),
            "RepoTags": entry.references.iter().map(Reference::familiar).collect::<Vec<_>>(),
            "Layers": written.layers.iter().map(|layer| Naming::Oci.blob(layer)).collect::<Vec<_>>(),
        })
    });
    entries.collect()
}

/// `repositories`, which only Docker before 1.10 reads, but which some tools still look for.
fn repositories(chosen: &[Chosen]) -> Value {
    let mut repositories = json!({});
    for entry in chosen {
        for reference in &entry.references {
            if let (Some(tag), Some(top)) = (reference.tag(), entry.image.layers.last()) {
                repositories[reference.familiar_repository()][tag] = top.diff_id.0.hex().into();
            }
        }
    }
    repositories
}
