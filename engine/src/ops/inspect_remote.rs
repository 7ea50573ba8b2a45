//! `image inspect --remote`: what a registry says of an image, without its layers.

use crate::image::ImageConfig;
use crate::manifest::{Document, Manifest, require_image_types};
use crate::ops::pull::{FromRegistry, Platforms, choose, config_bytes, config_of};
use crate::registry::Registry;
use crate::{Error, Kind, Reference, Result};

/// An image in a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteImage {
    /// The name it was asked by.
    pub reference: Reference,
    /// What the name stands for: the manifest, or an index that lists it.
    pub named: Document,
    /// The manifest with its bytes.
    pub document: Document,
    /// The same, read.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
}

/// Asks a registry for an image, of an index for the one that suits.
pub async fn inspect_remote(
    registry: &dyn Registry,
    reference: &Reference,
    platforms: &Platforms,
) -> Result<RemoteImage> {
    let named = registry.manifest(reference).await?;
    let chosen = choose(&FromRegistry { registry, reference }, &named, platforms).await?.into_iter().next();
    let chosen =
        chosen.ok_or_else(|| Error::refused(Kind::NotFound, format!("`{}` lists no image", reference.familiar())))?;
    require_image_types(&chosen.manifest)?;
    let bytes = config_bytes(registry, reference, &chosen.manifest.config).await?;
    let config = config_of(reference, &bytes)?;
    let document = chosen.document().clone();
    Ok(RemoteImage { reference: reference.clone(), named, document, manifest: chosen.manifest, config })
}
