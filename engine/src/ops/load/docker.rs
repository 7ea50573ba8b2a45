//! Docker's archive: `manifest.json` names a config and layers for each image.

use serde::Deserialize;

use super::{Announced, LayerBytes, config_of};
use crate::layout::{MANIFEST, Members, corrupt, refused, verify};
use crate::{Reference, Result};

/// One entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What `manifest.json` says the archive holds.
pub(super) fn announced(members: &Members, bytes: &[u8]) -> Result<Vec<Announced>> {
    let entries: Vec<Entry> =
        serde_json::from_slice(bytes).map_err(|error| refused(format!("`{MANIFEST}` cannot be read: {error}")))?;
    entries.into_iter().map(|entry| image(members, entry)).collect()
}

fn image(members: &Members, entry: Entry) -> Result<Announced> {
    let references =
        entry.repo_tags.unwrap_or_default().iter().map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>>>()?;
    let config_bytes = members.document(&entry.config)?;
    if let Some(digest) = digest_in(&entry.config) {
        verify(&config_bytes, &digest)?;
    }
    let config = config_of(&config_bytes)?;
    let layers = entry.layers.unwrap_or_default();
    if layers.len() != config.rootfs.diff_ids.len() {
        let announced = config.rootfs.diff_ids.len();
        return Err(corrupt(format!("the archive lists {} layers for an image of {announced}", layers.len())));
    }
    let layers = layers
        .iter()
        .map(|name| {
            let expected = if name.starts_with("blobs/") { digest_in(name) } else { None };
            Ok(LayerBytes { extent: members.find(name)?, expected })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Announced { config_bytes, config, manifest: None, index: None, references, other_platform: None, layers })
}

/// The digest a member's name announces: `<hex>.json` or `blobs/sha256/<hex>`.
fn digest_in(name: &str) -> Option<mica_layer::Digest> {
    let hex = match name.strip_prefix("blobs/sha256/") {
        Some(hex) => hex,
        None => name.strip_suffix(".json")?,
    };
    format!("sha256:{hex}").parse().ok()
}
