//! Manifests of what is pushed: those that images came with, as far as they can be kept, and new ones.

use std::collections::BTreeMap;

use mica_layer::Compression;
use serde::Serialize;
use serde_json::Value;

use crate::manifest::{Contents, Descriptor, Document, Manifest, OCI_LAYER, OCI_MANIFEST};
use crate::{Error, Kind, Result};

/// A manifest or index as the store has it. What it is stands in it, or is what documents are that do not say it.
pub(in crate::ops) fn document_of(bytes: Vec<u8>, usual: &str) -> Document {
    let value: Option<Value> = serde_json::from_slice(&bytes).ok();
    let said = value.as_ref().and_then(|value| value.get("mediaType")?.as_str());
    let media_type = said.unwrap_or(usual).to_owned();
    Document::new(&media_type, bytes)
}

/// The manifest in a document of the store.
pub(super) fn read(document: &Document) -> Result<Manifest> {
    match document.read()? {
        Contents::Manifest(manifest) => Ok(*manifest),
        Contents::Index(_) => {
            let message = format!("`{}` is recorded as a manifest and is an index", document.digest);
            Err(Error::refused(Kind::Corrupt, message))
        }
    }
}

/// The media type of a layer that is compressed like this.
pub(in crate::ops) fn layer_type(compression: Compression) -> String {
    match compression {
        Compression::None => OCI_LAYER.to_owned(),
        _ => format!("{OCI_LAYER}+{compression}"),
    }
}

/// True when a media type is that of a layer without compression.
pub(super) fn is_plain(layer: &Descriptor) -> bool {
    layer.media_type.ends_with("tar")
}

/// A new manifest: the same bytes for the same image and layers.
pub(in crate::ops) fn new(
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<Document> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct New {
        schema_version: u32,
        media_type: &'static str,
        config: Descriptor,
        layers: Vec<Descriptor>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        annotations: BTreeMap<String, String>,
    }
    let new = New { schema_version: 2, media_type: OCI_MANIFEST, config, layers, annotations };
    let bytes = serde_json::to_vec(&new).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    Ok(Document::new(OCI_MANIFEST, bytes))
}
