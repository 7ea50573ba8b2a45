//! Which images `save` writes: every name is looked up before anything is written, so that a wrong one leaves no half an archive.

use mica_layer::{DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _};

use super::{ArchiveFormat, LayerBlob, SaveRequest};
use crate::list::ManifestList;
use crate::manifest::{DOCKER_LIST, Document, OCI_INDEX};
use crate::store::Store;
use crate::store::images::{Resolved, resolve, stack_of};
use crate::store::manifests;
use crate::store::{lists, remote};
use crate::{Error, Kind, Reference, Result};

/// What one or several names stand for.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) references: Vec<Reference>,
    pub(super) image: Image,
    /// The index that the names stand for, where it is to be kept.
    pub(super) index: Option<Document>,
    /// The other images of that index which are here.
    pub(super) others: Vec<Image>,
    /// The list made here that the name stands for, and each of its images that is here.
    pub(super) list: Option<(ManifestList, Vec<Option<Image>>)>,
}

/// An image and its layers.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) id: Digest,
    /// Digest of the manifest it came with.
    pub(super) manifest: Option<Digest>,
    pub(super) layers: Vec<LayerBlob>,
    /// Blobs of these layers that the manifest lists and the store has.
    pub(super) forms: Vec<Digest>,
}

/// Finds what the names of a request stand for.
pub(super) fn choose(store: &Store, request: &SaveRequest) -> Result<Vec<Chosen>> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for name in &request.names {
        if let Some(list) = list(store, request, name)? {
            chosen.push(list);
            continue;
        }
        let Found { id, reference, index, manifest } = find(store, request, name)?;
        let index = index.map(|digest| document(store, &digest)).transpose()?;
        let same = |known: &&mut Chosen| {
            known.list.is_none()
                && known.image.id == id
                && (request.format == ArchiveFormat::Docker || known.image.manifest == manifest)
                && known.index.as_ref().map(|index| &index.digest) == index.as_ref().map(|index| &index.digest)
        };
        if let Some(known) = chosen.iter_mut().find(same) {
            known.references.extend(reference.filter(|reference| !known.references.contains(reference)));
            continue;
        }
        let (image, others) = store.read(|db| {
            let listed = index.as_ref().map(|index| remote::listed(db, &index.digest)).transpose()?.unwrap_or_default();
            let others = listed.into_iter().filter(|listed| Some(&listed.manifest) != manifest.as_ref());
            let others = others.map(|listed| self::image(db, &listed.image, Some(listed.manifest)));
            let others = others.collect::<Result<Vec<_>>>()?;
            Ok((self::image(db, &id, manifest.clone())?, others))
        })?;
        chosen.push(Chosen { references: reference.into_iter().collect(), image, index, others, list: None });
    }
    Ok(chosen)
}

/// A list that is made here, where the format can hold one.
fn list(store: &Store, request: &SaveRequest, name: &str) -> Result<Option<Chosen>> {
    if request.format != ArchiveFormat::Oci || request.platform.is_some() {
        return Ok(None);
    }
    store.read(|db| {
        let Some((reference, list)) = lists::meant(db, name)? else { return Ok(None) };
        let resolved = resolve(db, name)?;
        let own = image(db, &resolved.id, resolved.manifest)?;
        let entries = list.members.iter().zip(lists::entries(db, &list)?);
        let images = entries.map(|(member, (_, id))| {
            let Some(id) = id else { return Ok(None) };
            let manifest = manifests::listed_or_meant(db, &id, &member.descriptor.digest)?;
            image(db, &id, manifest).map(Some)
        });
        let images = images.collect::<Result<_>>()?;
        let list = Some((list, images));
        Ok(Some(Chosen { references: vec![reference], image: own, index: None, others: Vec::new(), list }))
    })
}

/// The image that a name stands for.
struct Found {
    id: Digest,
    /// The name as a row has it.
    reference: Option<Reference>,
    /// The index that is to be kept.
    index: Option<Digest>,
    /// The manifest that the name means.
    manifest: Option<Digest>,
}

fn find(store: &Store, request: &SaveRequest, name: &str) -> Result<Found> {
    let Resolved { id, reference, manifest } = store.read(|db| resolve(db, name))?;
    if let Some(platform) = &request.platform {
        let wanted = store.find_image_for(name, platform)?.id;
        let other = store.read(|db| other_manifest(db, &wanted, reference.as_ref()))?;
        let manifest = if wanted == id { manifest } else { other };
        return Ok(Found { id: wanted, reference, index: None, manifest });
    }
    let keep = request.format == ArchiveFormat::Oci && !request.compress;
    let index = match &reference {
        _ if !keep => None,
        Some(reference) => store.read(|db| remote::index_of(db, reference))?,
        None => {
            // A name by digest may be that of an index.
            let digest = Reference::parse_name(name).ok().and_then(|name| name.digest().cloned());
            digest
                .map(|digest| store.read(|db| Ok((!remote::listed(db, &digest)?.is_empty()).then_some(digest))))
                .transpose()?
                .flatten()
        }
    };
    Ok(Found { id, reference, index, manifest })
}

/// The manifest of another platform's image: the one that the name's index lists, or the last one that came.
fn other_manifest(db: &Connection, image: &Digest, reference: Option<&Reference>) -> Result<Option<Digest>> {
    let index = reference.map(|reference| remote::index_of(db, reference)).transpose()?.flatten();
    let listed = index.map(|index| manifests::pinned(db, image, &index)).transpose()?.flatten();
    listed.map_or_else(|| manifests::meant(db, image, None), |listed| Ok(Some(listed)))
}

fn document(store: &Store, digest: &Digest) -> Result<Document> {
    let bytes = store.read_document(digest)?;
    let own: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let media_type = if own["mediaType"] == DOCKER_LIST { DOCKER_LIST } else { OCI_INDEX };
    Ok(Document { media_type: media_type.to_owned(), digest: digest.clone(), bytes })
}

fn image(db: &Connection, id: &Digest, manifest: Option<Digest>) -> Result<Image> {
    let layers = stack_of(db, id)?.iter().map(|diff_id| layer_blob(db, diff_id)).collect::<Result<_>>()?;
    let forms = manifest.as_ref().map(|manifest| manifests::blobs_of(db, manifest)).transpose()?.unwrap_or_default();
    let forms = forms.into_iter().map(|(_, blob, _)| blob).collect();
    Ok(Image { id: id.clone(), manifest, layers, forms })
}

fn layer_blob(db: &Connection, diff_id: &DiffId) -> Result<LayerBlob> {
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
