//! Layouts of the image specification, and skopeo's `dir:`: an index, manifests, configs and layers by digest.
//!
//! Every descriptor is held to its word: size, digest and media type. A document that can be read as a manifest and as an
//! index is refused (CVE-2021-41190), and URLs of foreign layers are never asked for.

use std::sync::Arc;

use mica_layer::Digest;
use serde::Deserialize;

use super::{Announced, Group, LayerBytes, config_of};
use crate::layout::{INDEX, MANIFEST, Members, corrupt, refused};
use crate::manifest::{
    Contents, Descriptor, Document, INDEXES, Index, MANIFESTS, Manifest, document, require_image_types,
};
use crate::ops::pull::is_image;
use crate::{Error, Kind, Platform, Reference, Result};

/// How deep indexes may be nested.
const DEPTH_MAX: usize = 4;
/// How many manifests are looked at.
const MANIFESTS_MAX: usize = 1000;

/// What a layout says it holds.
pub(super) fn announced(members: &Members) -> Result<Vec<Group>> {
    let index: Index = document(&members.document(INDEX)?, INDEX, &INDEXES)?;
    let mut groups: Vec<(Digest, Group)> = Vec::new();
    let mut count = 0;
    for descriptor in &index.manifests {
        let references = names(descriptor)?;
        // Writers repeat an image's entry for each of its names.
        if let Some((_, group)) = groups.iter_mut().find(|(digest, _)| *digest == descriptor.digest) {
            if let Some(named) = group.images.iter_mut().find(|image| image.other_platform.is_none()) {
                named.references.extend(references);
            }
            continue;
        }
        let group = self::group(members, descriptor, references)?;
        count += group.images.len();
        if count > MANIFESTS_MAX {
            return Err(refused(format!("the archive has more than {MANIFESTS_MAX} images")));
        }
        groups.push((descriptor.digest.clone(), group));
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

/// What skopeo's `dir:` holds: one manifest or one index, and no name.
pub(super) fn announced_in_dir(members: &Members, bytes: Vec<u8>) -> Result<Vec<Group>> {
    let named = dir_document(bytes)?;
    Ok(vec![group_of(members, named, Vec::new())?])
}

/// A manifest that stands in a member of its own and must say itself what it is.
pub(crate) fn dir_document(bytes: Vec<u8>) -> Result<Document> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let own: Own =
        serde_json::from_slice(&bytes).map_err(|error| refused(format!("`{MANIFEST}` cannot be read: {error}")))?;
    let usual = if own.manifests.is_some() { INDEXES[0] } else { MANIFESTS[0] };
    let named = Document::new(own.media_type.as_deref().unwrap_or(usual), bytes);
    named.read()?;
    Ok(named)
}

/// The images behind an entry of the layout.
fn group(members: &Members, descriptor: &Descriptor, references: Vec<Reference>) -> Result<Group> {
    group_of(members, listed(members, descriptor)?, references)
}

/// The images behind a document, in the order of its index.
fn group_of(members: &Members, named: Document, references: Vec<Reference>) -> Result<Group> {
    let named = Arc::new(named);
    let mut found = Vec::new();
    manifests(members, (&named, None), DEPTH_MAX, &mut found)?;
    let host = Platform::host();
    let rank = |platform: &Option<Platform>| platform.as_ref().and_then(|platform| host.rank(platform));
    let best = (0..found.len()).min_by_key(|&at| rank(&found[at].1).unwrap_or(u32::MAX));
    let mut images = Vec::new();
    for (at, (document, platform)) in found.into_iter().enumerate() {
        let mut image = image(members, &document)?;
        if Some(at) == best {
            image.references.clone_from(&references);
        } else {
            image.other_platform = Some(platform.unwrap_or_else(|| image.config.platform()));
        }
        image.index = (named.digest != document.digest).then(|| Arc::clone(&named));
        images.push(image);
    }
    if images.is_empty() {
        return Err(refused(format!("the archive has none of the images that its index `{}` lists", named.digest)));
    }
    Ok(Group { images })
}

/// The image manifests behind a document: itself, or those of an index that are there.
fn manifests(
    members: &Members,
    (document, platform): (&Document, Option<&Platform>),
    depth: usize,
    found: &mut Vec<(Document, Option<Platform>)>,
) -> Result<()> {
    let index = match document.read()? {
        Contents::Manifest(_) => {
            found.push((document.clone(), platform.cloned()));
            return Ok(());
        }
        Contents::Index(index) => index,
    };
    if depth == 0 {
        return Err(refused(format!("indexes are nested more than {DEPTH_MAX} deep")));
    }
    if index.manifests.len() > MANIFESTS_MAX {
        return Err(refused(format!("index `{}` lists more than {MANIFESTS_MAX} images", document.digest)));
    }
    // An archive holds what one machine pulled: other platforms are listed and not there.
    let present = |inner: &&Descriptor| members.contains(&members.naming.manifest(&inner.digest));
    for inner in index.manifests.iter().filter(|inner| is_image(inner)).filter(present) {
        if found.iter().any(|(known, _)| known.digest == inner.digest) {
            continue;
        }
        let next = listed(members, inner)?;
        manifests(members, (&next, inner.platform.as_ref().or(platform)), depth - 1, found)?;
    }
    Ok(())
}

/// Reads the manifest or index that a descriptor names.
pub(crate) fn listed(members: &Members, descriptor: &Descriptor) -> Result<Document> {
    let media_type = descriptor.media_type.as_str();
    if !MANIFESTS.contains(&media_type) && !INDEXES.contains(&media_type) {
        let message = format!(
            "manifest `{}` has the media type `{}`, which is not an image's",
            descriptor.digest,
            descriptor.shown_type()
        );
        return Err(Error::refused(Kind::Unsupported, message));
    }
    let bytes = members.manifest(&descriptor.digest, descriptor.size)?;
    let document = Document { media_type: media_type.to_owned(), digest: descriptor.digest.clone(), bytes };
    document.read()?;
    Ok(document)
}

fn image(members: &Members, named: &Document) -> Result<Announced> {
    let Contents::Manifest(manifest) = named.read()? else {
        return Err(corrupt(format!("`{}` is an index where an image must be", named.digest)));
    };
    let manifest: Manifest = *manifest;
    require_image_types(&manifest)?;
    let config_bytes = members.config(&manifest.config.digest, manifest.config.size)?;
    let config = config_of(&config_bytes)?;
    if manifest.layers.len() != config.rootfs.diff_ids.len() {
        let announced = config.rootfs.diff_ids.len();
        return Err(corrupt(format!(
            "manifest `{}` lists {} layers for an image of {announced}",
            named.digest,
            manifest.layers.len()
        )));
    }
    let layers = manifest
        .layers
        .iter()
        .map(|layer| {
            Ok(LayerBytes { extent: members.blob(&layer.digest, layer.size)?, expected: Some(layer.digest.clone()) })
        })
        .collect::<Result<Vec<_>>>()?;
    let manifest = Some(named.bytes.clone());
    let (references, other_platform) = (Vec::new(), None);
    Ok(Announced { config_bytes, config, manifest, index: None, references, other_platform, layers })
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
