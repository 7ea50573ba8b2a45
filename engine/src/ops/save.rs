//! `save`: images become an archive that Docker, Podman and skopeo read.
//!
//! One image appears once, whatever number of its names were asked for. Blobs are named by their digests and shared by
//! the images of an archive.

mod archive;

use std::io::Write;

use mica_layer::{DiffId, Digest};
use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};

use crate::store::Store;
use crate::store::images::{one, resolve, stack_of};
use crate::{Engine, Error, Kind, Reference, Result};
use archive::Archive;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What the archive looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveFormat {
    /// `manifest.json` and `repositories` over a valid OCI layout, as Docker writes since version 25.
    #[default]
    Docker,
    /// An OCI layout alone.
    Oci,
}

/// An image that was asked for, with those of its names that were.
#[derive(Debug)]
struct Chosen {
    id: Digest,
    references: Vec<Reference>,
    manifest: Option<Digest>,
    layers: Vec<LayerBlob>,
}

/// A layer and the blob that holds it.
#[derive(Debug, Clone)]
struct LayerBlob {
    diff_id: DiffId,
    blob: Digest,
    size: u64,
}

/// A manifest as it goes into the archive's index.
struct Manifest {
    digest: Digest,
    size: u64,
    /// Descriptors of its layers, bottom first.
    layers: Vec<Digest>,
}

impl Engine {
    /// Writes images, named by reference or ID, to `sink`.
    pub async fn save(&self, names: &[String], format: ArchiveFormat, sink: Box<dyn Write + Send>) -> Result<()> {
        let names = names.to_vec();
        self.blocking(move |engine| {
            let store = engine.store();
            let chosen = choose(store, &names)?;
            let mut archive = Archive::new(store, sink)?;
            let mut manifests = Vec::new();
            for image in &chosen {
                manifests.push(match format {
                    ArchiveFormat::Docker => write_plain(&mut archive, image)?,
                    ArchiveFormat::Oci => write_as_stored(&mut archive, image)?,
                });
            }
            archive.json("index.json", &index(&chosen, &manifests))?;
            archive.json("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
            if format == ArchiveFormat::Docker {
                archive.json("manifest.json", &docker_manifest(&chosen, &manifests))?;
                archive.json("repositories", &repositories(&chosen))?;
            }
            archive.finish()
        })
        .await
    }
}

/// Looks all names up before anything is written, so that a wrong one leaves no half an archive.
fn choose(store: &Store, names: &[String]) -> Result<Vec<Chosen>> {
    store.read(|db| {
        let mut chosen: Vec<Chosen> = Vec::new();
        for name in names {
            let resolved = resolve(db, name)?;
            let at = match chosen.iter().position(|image| image.id == resolved.id) {
                Some(at) => at,
                None => {
                    let mut layers = Vec::new();
                    for diff_id in stack_of(db, &resolved.id)? {
                        layers.push(layer_blob(db, &diff_id)?);
                    }
                    let manifest = one(db, &resolved.id)?.and_then(|row| row.manifest);
                    chosen.push(Chosen { id: resolved.id, references: Vec::new(), manifest, layers });
                    chosen.len() - 1
                }
            };
            let references = &mut chosen[at].references;
            references.extend(resolved.reference.filter(|reference| !references.contains(reference)));
        }
        Ok(chosen)
    })
}

fn layer_blob(db: &rusqlite::Connection, diff_id: &DiffId) -> Result<LayerBlob> {
    let sql = "SELECT blob, blobs.size FROM layers JOIN blobs ON blobs.digest = layers.blob WHERE diff_id = ?1";
    let found: Option<(String, i64)> = db
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement.query_row([diff_id.0.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(Error::database("look up a layer"))?;
    let (blob, size) = found.ok_or_else(|| {
        Error::refused(Kind::Corrupt, format!("layer `{}` has no blob", diff_id.0))
            .with_hint("`mica system check` names the images that are hit")
    })?;
    let blob = blob.parse().map_err(|_| Error::refused(Kind::Corrupt, format!("`{blob}` is not a digest")))?;
    Ok(LayerBlob { diff_id: diff_id.clone(), blob, size: size.unsigned_abs() })
}

/// Docker's archives hold layers uncompressed, named by their diff IDs.
fn write_plain(archive: &mut Archive<'_>, image: &Chosen) -> Result<Manifest> {
    let mut descriptors = Vec::new();
    for layer in &image.layers {
        let size = archive.plain_layer(&layer.blob, &layer.diff_id)?;
        descriptors.push(json!({ "mediaType": LAYER, "digest": layer.diff_id.0.as_str(), "size": size }));
    }
    new_manifest(archive, image, descriptors, image.layers.iter().map(|layer| layer.diff_id.0.clone()).collect())
}

/// OCI archives hold blobs as the store has them, under the manifest the image came with if that is still whole.
fn write_as_stored(archive: &mut Archive<'_>, image: &Chosen) -> Result<Manifest> {
    for layer in &image.layers {
        archive.blob(&layer.blob)?;
    }
    if let Some(digest) = &image.manifest {
        let bytes = archive.store().read_document(digest)?;
        if let Some(layers) =
            layers_named_by(&bytes).filter(|layers| image.layers.iter().map(|layer| &layer.blob).eq(layers))
        {
            archive.blob(&image.id)?;
            let size = archive.document(digest, &bytes)?;
            return Ok(Manifest { digest: digest.clone(), size, layers });
        }
    }
    let mut descriptors = Vec::new();
    for layer in &image.layers {
        let media_type = format!("{LAYER}{}", archive.suffix(&layer.blob)?);
        descriptors.push(json!({ "mediaType": media_type, "digest": layer.blob.as_str(), "size": layer.size }));
    }
    new_manifest(archive, image, descriptors, image.layers.iter().map(|layer| layer.blob.clone()).collect())
}

/// The blobs a manifest names; `None` when it names something that is not a digest.
fn layers_named_by(manifest: &[u8]) -> Option<Vec<Digest>> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    manifest["layers"].as_array()?.iter().map(|layer| layer["digest"].as_str()?.parse().ok()).collect()
}

fn new_manifest(
    archive: &mut Archive<'_>,
    image: &Chosen,
    descriptors: Vec<Value>,
    layers: Vec<Digest>,
) -> Result<Manifest> {
    let config_size = archive.blob(&image.id)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": image.id.as_str(), "size": config_size },
        "layers": descriptors,
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = Digest::sha256_of(&bytes);
    let size = archive.document(&digest, &bytes)?;
    Ok(Manifest { digest, size, layers })
}

/// `index.json`. Names stand there twice: where containerd and Docker look, and where the image spec, skopeo and Podman do.
fn index(images: &[Chosen], manifests: &[Manifest]) -> Value {
    let entries: Vec<Value> = images
        .iter()
        .zip(manifests)
        .flat_map(|(image, manifest)| {
            let entry = json!({ "mediaType": MANIFEST, "digest": manifest.digest.as_str(), "size": manifest.size });
            let named = image.references.iter().map({
                let entry = entry.clone();
                move |reference| {
                    let mut entry = entry.clone();
                    entry["annotations"] = json!({
                        "io.containerd.image.name": reference.to_string(),
                        "org.opencontainers.image.ref.name": reference.to_string(),
                    });
                    entry
                }
            });
            let mut named: Vec<Value> = named.collect();
            if named.is_empty() {
                named.push(entry);
            }
            named
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries })
}

fn docker_manifest(images: &[Chosen], manifests: &[Manifest]) -> Value {
    let entries = images.iter().zip(manifests).map(|(image, manifest)| {
        json!({
            "Config": archive::blob_path(&image.id),
            "RepoTags": image.references.iter().map(Reference::familiar).collect::<Vec<_>>(),
            "Layers": manifest.layers.iter().map(archive::blob_path).collect::<Vec<_>>(),
        })
    });
    entries.collect()
}

/// `repositories`, which only Docker before 1.10 reads, but which some tools still look for.
fn repositories(images: &[Chosen]) -> Value {
    let mut repositories = json!({});
    for image in images {
        for reference in &image.references {
            if let (Some(tag), Some(top)) = (reference.tag(), image.layers.last()) {
                repositories[reference.familiar_repository()][tag] = top.diff_id.0.hex().into();
            }
        }
    }
    repositories
}
