//! Manifests and indexes: what the image specification and Docker's schema 2 say about an image's blobs, read strictly.
//!
//! A document that can be read as a manifest and as an index, or that calls itself something else than it was announced
//! as, is refused (CVE-2021-41190). Nothing here fetches or stores bytes.

use std::collections::BTreeMap;

use mica_layer::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::platform::Platform;
use crate::{Error, Kind, Result};

/// The most bytes of a manifest, index or config that are read (CVE-2023-25153: a JSON document must not fill the memory).
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// Media types of indexes.
pub const INDEXES: [&str; 2] = [OCI_INDEX, DOCKER_LIST];
/// Media types of manifests.
pub const MANIFESTS: [&str; 2] = [OCI_MANIFEST, DOCKER_MANIFEST];
/// Media types of image configs.
pub const CONFIGS: [&str; 2] = [OCI_CONFIG, DOCKER_CONFIG];
/// Media types of layers.
pub const LAYERS: [&str; 10] = [
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

/// The image specification's index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The image specification's manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The image specification's config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The image specification's layer, uncompressed; `+gzip` or `+zstd` follows for the compressed ones.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Docker's layer, uncompressed; `.gzip` follows for the compressed ones.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// A typed pointer to bytes (OCI image-spec, `descriptor.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
    /// Where else they may be had; never asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Which machines an index's image is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor of bytes that are at hand.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256_of(bytes), bytes.len() as u64)
    }

    /// A descriptor without extras.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// True when it names an index.
    pub fn is_index(&self) -> bool {
        INDEXES.contains(&self.media_type.as_str())
    }

    /// The media type as messages may show it.
    pub fn shown_type(&self) -> String {
        shown(&self.media_type)
    }
}

/// An image's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The image's config.
    pub config: Descriptor,
    /// Its layers, bottom first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Remarks.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What an artifact is.
    #[serde(default)]
    pub artifact_type: Option<String>,
}

/// Manifests for several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// The manifests, and possibly further indexes.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Remarks.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or index with its bytes, whose digest is its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Document {
    /// A document of these bytes.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Document {
        Document { media_type: media_type.to_owned(), digest: Digest::sha256_of(&bytes), bytes }
    }

    /// What others call it by.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.bytes.len() as u64)
    }

    /// Reads it as what its media type says.
    pub fn read(&self) -> Result<Contents> {
        let name = self.digest.as_str();
        match self.media_type.as_str() {
            media_type if INDEXES.contains(&media_type) => {
                document(&self.bytes, name, &[media_type]).map(Contents::Index)
            }
            media_type if MANIFESTS.contains(&media_type) => {
                document(&self.bytes, name, &[media_type]).map(|manifest| Contents::Manifest(Box::new(manifest)))
            }
            other => Err(Error::refused(
                Kind::Unsupported,
                format!("`{name}` has the media type `{}`, which is not an image's", shown(other)),
            )),
        }
    }
}

/// What a document turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several.
    Index(Index),
}

/// Reads a document that must be of one kind and no other; `name` is what messages call it.
pub fn document<T: for<'de> Deserialize<'de>>(bytes: &[u8], name: &str, media_types: &[&str]) -> Result<T> {
    let fail =
        |error: serde_json::Error| Error::refused(Kind::InvalidInput, format!("`{name}` cannot be read: {error}"));
    let value: Value = serde_json::from_slice(bytes).map_err(fail)?;
    if value.get("manifests").is_some() && (value.get("layers").is_some() || value.get("config").is_some()) {
        return Err(corrupt(format!("`{name}` is a manifest and an index at once")));
    }
    match value.get("mediaType") {
        None => {}
        Some(Value::String(found)) if media_types.contains(&found.as_str()) => {}
        Some(found) => {
            return Err(corrupt(format!(
                "`{name}` calls itself {}, which is not what it was announced as",
                shown(&found.to_string())
            )));
        }
    }
    if value.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        return Err(Error::refused(Kind::InvalidInput, format!("`{name}` does not have schema version 2")));
    }
    serde_json::from_value(value).map_err(fail)
}

/// Refuses what is no image's config or layer.
pub fn require_image_types(manifest: &Manifest) -> Result<()> {
    let unknown = |what: &str, descriptor: &Descriptor| {
        let message = format!(
            "{what} `{}` has the media type `{}`, which is not an image's",
            descriptor.digest,
            descriptor.shown_type()
        );
        Error::refused(Kind::Unsupported, message)
    };
    if !CONFIGS.contains(&manifest.config.media_type.as_str()) {
        return Err(unknown("config", &manifest.config));
    }
    match manifest.layers.iter().find(|layer| !LAYERS.contains(&layer.media_type.as_str())) {
        Some(layer) => Err(unknown("layer", layer)),
        None => Ok(()),
    }
}

fn corrupt(message: String) -> Error {
    Error::refused(Kind::Corrupt, message)
}

/// Text of strangers, short and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(media_type: &str, text: &str) -> Result<Contents> {
        Document::new(media_type, text.as_bytes().to_vec()).read()
    }

    #[test]
    fn a_document_is_what_it_was_announced_as() {
        let digest = Digest::sha256_of(b"");
        let config = format!(r#"{{"mediaType":"{OCI_CONFIG}","digest":"{digest}","size":0}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let named = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        for (media_type, text, expected) in [
            (OCI_MANIFEST, manifest.as_str(), Ok(false)),
            (OCI_MANIFEST, &named, Ok(false)),
            (OCI_INDEX, &index, Ok(true)),
            (DOCKER_MANIFEST, &named, Err(Kind::Corrupt)),
            (OCI_INDEX, &named, Err(Kind::Corrupt)),
            (OCI_MANIFEST, &both, Err(Kind::Corrupt)),
            (OCI_INDEX, &both, Err(Kind::Corrupt)),
            ("application/x-evil", &manifest, Err(Kind::Unsupported)),
            (OCI_MANIFEST, r#"{"schemaVersion":1}"#, Err(Kind::InvalidInput)),
            (OCI_MANIFEST, "{", Err(Kind::InvalidInput)),
        ] {
            let found = read(media_type, text).map(|found| matches!(found, Contents::Index(_)));
            assert_eq!(found.map_err(|error| error.kind()), expected, "{media_type} {text}");
        }
    }

    #[test]
    fn digests_and_sizes_are_read_strictly() {
        for descriptor in [
            r#"{"mediaType":"a","digest":"sha256:../../etc","size":1}"#,
            r#"{"mediaType":"a","digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":1}"#,
            r#"{"mediaType":"a","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":-1}"#,
        ] {
            assert!(serde_json::from_str::<Descriptor>(descriptor).is_err(), "{descriptor}");
        }
    }
}
