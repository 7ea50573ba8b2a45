//! Rows of what registries call images by: digests in repositories, indexes with the platforms they list, and where blobs are.

use mica_layer::{DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::images::{collect, digest};
use crate::manifest::Index;
use crate::{Error, Platform, Reference, Result};

/// An image that an index lists and that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The image's ID.
    pub(crate) image: Digest,
    /// The digest of its manifest.
    pub(crate) manifest: Digest,
    /// As the index has it.
    pub(crate) platform: Option<Platform>,
}

/// Records an index whose blob has a row.
pub(crate) fn insert_index(db: &Transaction<'_>, index: &Digest, contents: &Index) -> Result<()> {
    let fail = || Error::database("record an index");
    db.execute("INSERT OR IGNORE INTO indexes (digest) VALUES (?1)", [index.as_str()]).map_err(fail())?;
    for (position, entry) in contents.manifests.iter().enumerate() {
        let platform = entry.platform.as_ref().map(|platform| platform.normalized().to_string());
        db.execute(
            "INSERT OR IGNORE INTO index_manifests (idx, position, manifest, platform) VALUES (?1, ?2, ?3, ?4)",
            params![index.as_str(), position as i64, entry.digest.as_str(), platform],
        )
        .map_err(fail())?;
    }
    Ok(())
}

/// The index that a name came from.
pub(crate) fn index_of(db: &Connection, reference: &Reference) -> Result<Option<Digest>> {
    let found =
        collect(db, "SELECT idx FROM tags WHERE reference = ?1 AND idx IS NOT NULL", [reference.to_string()], |row| {
            digest(row, 0)
        })?;
    Ok(found.into_iter().next())
}

/// The images of an index that are here, in its order.
pub(crate) fn listed(db: &Connection, index: &Digest) -> Result<Vec<Listed>> {
    collect(
        db,
        "SELECT f.image, m.manifest, m.platform FROM index_manifests m JOIN manifests f ON f.digest = m.manifest
         WHERE m.idx = ?1 ORDER BY m.position",
        [index.as_str()],
        |row| {
            let platform = row.get::<_, Option<String>>(2)?.and_then(|text| text.parse().ok());
            Ok(Listed { image: digest(row, 0)?, manifest: digest(row, 1)?, platform })
        },
    )
}

/// Every image that an index lists, in its order: its platform, and its ID when it is here. What speaks of images and is none
/// is left out.
pub(crate) fn entries(db: &Connection, index: &Digest) -> Result<Vec<(Option<Platform>, Option<Digest>)>> {
    let rows = collect(
        db,
        "SELECT m.platform, (SELECT image FROM manifests f WHERE f.digest = m.manifest) FROM index_manifests m
         WHERE m.idx = ?1 ORDER BY m.position",
        [index.as_str()],
        |row| {
            let platform = row.get::<_, Option<String>>(0)?.and_then(|text| text.parse::<Platform>().ok());
            let image = if row.get_ref(1)? == rusqlite::types::ValueRef::Null { None } else { Some(digest(row, 1)?) };
            Ok((platform, image))
        },
    )?;
    let is_image = |platform: &Option<Platform>| platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    Ok(rows.into_iter().filter(|(platform, _)| is_image(platform)).collect())
}

/// Images without a name of their own that a named index, or a list that is made here, lists: those of other platforms.
pub(crate) fn images_of_others(db: &Connection) -> Result<Vec<Digest>> {
    collect(
        db,
        "SELECT DISTINCT f.image FROM manifests f JOIN index_manifests m ON m.manifest = f.digest
         JOIN tags t ON t.idx = m.idx WHERE NOT EXISTS (SELECT 1 FROM tags own WHERE own.image = f.image)
         UNION SELECT i.id FROM images i JOIN (SELECT value FROM lists, json_each(lists.record, '$.members')) member
         ON i.id = member.value ->> '$.image'
            OR i.id = (SELECT image FROM manifests f WHERE f.digest = member.value ->> '$.descriptor.digest')
         WHERE NOT EXISTS (SELECT 1 FROM tags own WHERE own.image = i.id)
         AND NOT EXISTS (SELECT 1 FROM digests d WHERE d.image = i.id)",
        [],
        |row| digest(row, 0),
    )
}

/// Records that a repository calls an image by a digest: that of its manifest, or of an index that lists it.
pub(crate) fn insert_name(db: &Transaction<'_>, repository: &str, name: &Digest, image: &Digest) -> Result<()> {
    db.execute(
        "INSERT OR IGNORE INTO digests (repository, digest, image) VALUES (?1, ?2, ?3)",
        params![repository, name.as_str(), image.as_str()],
    )
    .map(drop)
    .map_err(Error::database("record a digest"))
}

/// The names by digest of an image, as references.
pub(crate) fn names_of(db: &Connection, image: &Digest) -> Result<Vec<Reference>> {
    let sql = "SELECT repository || '@' || digest FROM digests WHERE image = ?1 ORDER BY 1";
    let names: Vec<String> = collect(db, sql, [image.as_str()], |row| row.get(0))?;
    names.iter().map(|name| Reference::parse_name(name)).collect()
}

/// Every name by digest with its image.
pub(crate) fn all_names(db: &Connection) -> Result<Vec<(Reference, Digest)>> {
    let sql = "SELECT repository || '@' || digest, image FROM digests ORDER BY 1";
    let names: Vec<(String, Digest)> = collect(db, sql, [], |row| Ok((row.get(0)?, digest(row, 1)?)))?;
    names.into_iter().map(|(name, image)| Ok((Reference::parse_name(&name)?, image))).collect()
}

/// At most so many manifests: first those of images that a repository has a name for, then the youngest.
pub(crate) fn manifests_near(db: &Connection, repository: &str, limit: usize) -> Result<Vec<Digest>> {
    let sql = "SELECT digest FROM manifests m
         ORDER BY EXISTS (SELECT 1 FROM digests d WHERE d.image = m.image AND d.repository = ?1) DESC, added DESC LIMIT ?2";
    collect(db, sql, params![repository, limit as i64], |row| digest(row, 0))
}

/// The images that a repository calls by a digest.
pub(crate) fn named(db: &Connection, repository: &str, name: &Digest) -> Result<Vec<Digest>> {
    let sql = "SELECT image FROM digests WHERE repository = ?1 AND digest = ?2 ORDER BY image";
    collect(db, sql, params![repository, name.as_str()], |row| digest(row, 0))
}

/// Takes the names by digest of an image in one repository away; they are what comes back.
pub(crate) fn delete_names(db: &Transaction<'_>, repository: &str, image: &Digest) -> Result<Vec<Reference>> {
    let sql = "DELETE FROM digests WHERE repository = ?1 AND image = ?2 RETURNING repository || '@' || digest";
    let names: Vec<String> = collect(db, sql, params![repository, image.as_str()], |row| row.get(0))?;
    names.iter().map(|name| Reference::parse_name(name)).collect()
}

/// Records that a repository has blobs.
pub(crate) fn insert_places(db: &Transaction<'_>, repository: &str, blobs: &[Digest]) -> Result<()> {
    let mut statement = db
        .prepare_cached("INSERT OR IGNORE INTO blob_places (blob, repository) VALUES (?1, ?2)")
        .map_err(Error::database("record a place"))?;
    for blob in blobs {
        statement.execute(params![blob.as_str(), repository]).map_err(Error::database("record a place"))?;
    }
    Ok(())
}

/// Repositories that are known to have a blob.
pub(crate) fn places_of(db: &Connection, blob: &Digest) -> Result<Vec<String>> {
    collect(db, "SELECT repository FROM blob_places WHERE blob = ?1 ORDER BY repository", [blob.as_str()], |row| {
        row.get(0)
    })
}

/// What a layer was compressed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// What a layer was compressed to by a method, when it was pushed.
pub(crate) fn packed(db: &Connection, layer: &DiffId, compression: &str) -> Result<Option<Packed>> {
    db.query_row(
        "SELECT digest, size FROM packed WHERE diff_id = ?1 AND compression = ?2",
        params![layer.0.as_str(), compression],
        |row| Ok(Packed { digest: digest(row, 0)?, size: row.get::<_, i64>(1)?.unsigned_abs() }),
    )
    .optional()
    .map_err(Error::database("look up a packed layer"))
}

/// The method that makes a blob of a layer, as far as one is known here to.
pub(crate) fn packed_by(db: &Connection, layer: &DiffId, blob: &Digest) -> Result<Option<String>> {
    let sql = "SELECT compression FROM packed WHERE digest = ?1 AND diff_id = ?2 ORDER BY compression";
    Ok(collect(db, sql, [blob.as_str(), layer.0.as_str()], |row| row.get(0))?.into_iter().next())
}

/// Takes away a name by digest that no tag of its repository stands for any more; true when it went.
pub(crate) fn delete_name_unless_tagged(
    db: &Transaction<'_>,
    repository: &str,
    name: &Digest,
    image: &Digest,
) -> Result<bool> {
    db.execute(
        "DELETE FROM digests WHERE repository = ?1 AND digest = ?2 AND image = ?3
         AND NOT EXISTS (SELECT 1 FROM tags WHERE manifest = ?2 AND idx IS NULL AND substr(reference, 1, length(?4)) = ?4)",
        params![repository, name.as_str(), image.as_str(), format!("{repository}:")],
    )
    .map(|count| count > 0)
    .map_err(Error::database("remove a digest"))
}

/// Records what a layer was compressed to.
pub(crate) fn insert_packed(db: &Transaction<'_>, layer: &DiffId, compression: &str, packed: &Packed) -> Result<()> {
    db.execute(
        "INSERT INTO packed (diff_id, compression, digest, size) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (diff_id, compression) DO UPDATE SET digest = excluded.digest, size = excluded.size",
        params![layer.0.as_str(), compression, packed.digest.as_str(), packed.size as i64],
    )
    .map(drop)
    .map_err(Error::database("record a packed layer"))
}
