//! The image specification's layout: `index.json`, manifests, configs and layers by digest.
//!
//! Every descriptor is held to its word: size, digest and media type. A document that can be read as a manifest and as an
//! index is refused (CVE-2021-41190), and URLs of foreign layers are never asked for.

use std::collections::BTreeMap;

use mica_layer::Digest;
use serde::Deserialize;
use serde_json::Value;

use super::members::{Members, corrupt, refused};
use super::{Announced, LayerBytes, config_of};
use crate::{Kind, Reference, Result};

/// The member that makes an archive a layout.
pub(super) const INDEX: &str = "index.json";

/// How deep indexes may be nested.
const DEPTH_MAX: usize = 4;
/// How many manifests are looked at.
const MANIFESTS_MAX: usize = 1000;

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 10] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// What the archive says it holds.
pub(super) fn announced(members: &Members) -> Result<Vec<Announced>> {
    let index: Index = document(&members.document(INDEX)?, INDEX, &INDEXES)?;
    let mut images: Vec<Announced> = Vec::new();
    let mut seen: Vec<Digest> = Vec::new();
    for descriptor in &index.manifests {
        let references = names(descriptor)?;
        let mut found = Vec::new();
        manifests(members, descriptor, DEPTH_MAX, &mut found)?;
        for manifest in found {
            // Writers repeat an image's entry for each of its names.
            if let Some(at) = seen.iter().position(|digest| *digest == manifest.digest) {
                images[at].references.extend(references.iter().cloned());
                continue;
            }
            if seen.len() >= MANIFESTS_MAX {
                return Err(refused(format!("the archive has more than {MANIFESTS_MAX} images")));
            }
            images.push(image(members, &manifest, references.clone())?);
            seen.push(manifest.digest);
        }
    }
    Ok(images)
}

/// The image manifests behind a descriptor: itself, or those of an index that suit this machine.
fn manifests(members: &Members, descriptor: &Descriptor, depth: usize, found: &mut Vec<Descriptor>) -> Result<()> {
    if MANIFESTS.contains(&descriptor.media_type.as_str()) {
        found.push(descriptor.clone());
        return Ok(());
    }
    if !INDEXES.contains(&descriptor.media_type.as_str()) {
        return Err(unknown("manifest", descriptor));
    }
    if depth == 0 {
        return Err(refused(format!("indexes are nested more than {DEPTH_MAX} deep")));
    }
    let bytes = members.blob_document(&descriptor.digest, descriptor.size)?;
    let index: Index = document(&bytes, descriptor.digest.as_str(), &[descriptor.media_type.as_str()])?;
    let suits = |inner: &&Descriptor| {
        inner.platform.as_ref().is_none_or(|platform| suits_this_machine(&platform.os, &platform.architecture))
    };
    // An archive holds what one machine pulled: other platforms are listed and not there.
    let present = |inner: &&Descriptor| members.contains(&super::members::blob_name(&inner.digest));
    for inner in index.manifests.iter().filter(suits).filter(present) {
        manifests(members, inner, depth - 1, found)?;
    }
    Ok(())
}

fn suits_this_machine(os: &str, architecture: &str) -> bool {
    os == "linux" && architecture == crate::ops::commit::architecture()
}

fn image(members: &Members, descriptor: &Descriptor, references: Vec<Reference>) -> Result<Announced> {
    let bytes = members.blob_document(&descriptor.digest, descriptor.size)?;
    let manifest: Manifest = document(&bytes, descriptor.digest.as_str(), &[descriptor.media_type.as_str()])?;
    if !CONFIGS.contains(&manifest.config.media_type.as_str()) {
        return Err(unknown("config", &manifest.config));
    }
    let config_bytes = members.blob_document(&manifest.config.digest, manifest.config.size)?;
    let config = config_of(&config_bytes)?;
    if manifest.layers.len() != config.rootfs.diff_ids.len() {
        let announced = config.rootfs.diff_ids.len();
        return Err(corrupt(format!(
            "manifest `{}` lists {} layers for an image of {announced}",
            descriptor.digest,
            manifest.layers.len()
        )));
    }
    let layers = manifest
        .layers
        .iter()
        .map(|layer| {
            if !LAYERS.contains(&layer.media_type.as_str()) {
                return Err(unknown("layer", layer));
            }
            Ok(LayerBytes { extent: members.blob(&layer.digest, layer.size)?, expected: Some(layer.digest.clone()) })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Announced { config_bytes, config, manifest: Some(bytes), references, layers })
}

/// Reads a document that must be of one kind and no other.
fn document<T: for<'de> Deserialize<'de>>(bytes: &[u8], name: &str, media_types: &[&str]) -> Result<T> {
    let fail = |error: serde_json::Error| refused(format!("`{name}` cannot be read: {error}"));
    let value: Value = serde_json::from_slice(bytes).map_err(fail)?;
    if value.get("manifests").is_some() && (value.get("layers").is_some() || value.get("config").is_some()) {
        return Err(corrupt(format!("`{name}` is a manifest and an index at once")));
    }
    match value.get("mediaType") {
        None => {}
        Some(Value::String(found)) if media_types.contains(&found.as_str()) => {}
        Some(found) => {
            return Err(corrupt(format!("`{name}` calls itself {found}, which is not what it was announced as")));
        }
    }
    if value.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        return Err(refused(format!("`{name}` does not have schema version 2")));
    }
    serde_json::from_value(value).map_err(fail)
}

/// The names of an index entry. A bare tag, which the specification allows too, names nothing by itself.
fn names(descriptor: &Descriptor) -> Result<Vec<Reference>> {
    let whole = descriptor.annotations.get("io.containerd.image.name");
    let name = whole.or_else(|| {
        descriptor.annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']))
    });
    let reference = name.map(|name| Reference::parse(name)).transpose()?;
    Ok(reference.into_iter().collect())
}

fn unknown(what: &str, descriptor: &Descriptor) -> crate::Error {
    let shown: String = descriptor.media_type.chars().take(200).flat_map(char::escape_debug).collect();
    crate::Error::refused(
        Kind::Unsupported,
        format!("{what} `{}` has the media type `{shown}`, which is not an image's", descriptor.digest),
    )
}
