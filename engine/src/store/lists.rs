//! Rows of manifest lists that are made here. A list's name is no image's: both may exist, and an image's comes first where
//! an image is meant.

use mica_layer::Digest;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::images::{collect, digest, tagged};
use crate::list::{ManifestList, Member};
use crate::{Error, Kind, Platform, Reference, Result};

/// The list that has exactly this name.
pub(crate) fn named(db: &Connection, reference: &Reference) -> Result<Option<ManifestList>> {
    let record: Option<String> = db
        .prepare_cached("SELECT record FROM lists WHERE reference = ?1")
        .and_then(|mut statement| statement.query_row([reference.to_string()], |row| row.get(0)).optional())
        .map_err(Error::database("look up a manifest list"))?;
    record.map(|record| read(reference, &record)).transpose()
}

/// The name of a list, when a typed name means one: no image has it.
pub(crate) fn meant(db: &Connection, name: &str) -> Result<Option<(Reference, ManifestList)>> {
    let Ok(reference) = Reference::parse(name) else { return Ok(None) };
    if reference.digest().is_some() || tagged(db, &reference)?.is_some() {
        return Ok(None);
    }
    Ok(named(db, &reference)?.map(|list| (reference, list)))
}

/// Every list, by name.
pub(crate) fn all(db: &Connection) -> Result<Vec<(Reference, ManifestList)>> {
    let rows: Vec<(String, String)> =
        collect(db, "SELECT reference, record FROM lists ORDER BY reference", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    rows.into_iter()
        .map(|(name, record)| {
            let reference = Reference::parse_name(&name)?;
            let list = read(&reference, &record)?;
            Ok((reference, list))
        })
        .collect()
}

/// Records a list, in place of one that had the name.
pub(crate) fn set(db: &Transaction<'_>, reference: &Reference, list: &ManifestList) -> Result<()> {
    let record = serde_json::to_string(list).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    db.execute(
        "INSERT INTO lists (reference, record) VALUES (?1, ?2)
         ON CONFLICT (reference) DO UPDATE SET record = excluded.record",
        params![reference.to_string(), record],
    )
    .map(drop)
    .map_err(Error::database("record a manifest list"))
}

/// Takes a list away; false when it was not there.
pub(crate) fn delete(db: &Transaction<'_>, reference: &Reference) -> Result<bool> {
    db.execute("DELETE FROM lists WHERE reference = ?1", [reference.to_string()])
        .map(|count| count > 0)
        .map_err(Error::database("remove a manifest list"))
}

/// Every member of a list, in its order: the platform it says it is for, and the image when that is here.
pub(crate) fn entries(db: &Connection, list: &ManifestList) -> Result<Vec<(Option<Platform>, Option<Digest>)>> {
    let mut entries = Vec::new();
    for member in &list.members {
        entries.push((member.descriptor.platform.clone(), image_of(db, member)?));
    }
    Ok(entries)
}

/// The image of a member, when it is here: what was added from the store has its ID, and what a registry has may have come
/// since.
pub(crate) fn image_of(db: &Connection, member: &Member) -> Result<Option<Digest>> {
    let sql = "SELECT id FROM images WHERE id = ?1 OR id = (SELECT image FROM manifests WHERE digest = ?2)
               ORDER BY id = ?1 DESC LIMIT 1";
    let id = member.image.as_ref().map(Digest::as_str);
    let found = collect(db, sql, params![id, member.descriptor.digest.as_str()], |row| digest(row, 0))?;
    Ok(found.into_iter().next())
}

/// The member of a list that suits this machine best, when one is here that does; else the first one that is here.
pub(crate) fn native(db: &Connection, list: &ManifestList) -> Result<Option<Digest>> {
    let host = Platform::host();
    let rank = |platform: &Option<Platform>| platform.as_ref().and_then(|platform| host.rank(platform));
    let here = entries(db, list)?.into_iter().filter_map(|(platform, image)| Some((rank(&platform), image?)));
    let best = here.min_by_key(|(rank, _)| rank.unwrap_or(u32::MAX));
    Ok(best.map(|(_, image)| image))
}

fn read(reference: &Reference, record: &str) -> Result<ManifestList> {
    serde_json::from_str(record).map_err(|error| {
        let message = format!("the manifest list `{}` cannot be read: {error}", reference.familiar());
        Error::refused(Kind::Corrupt, message).with_hint("`mica manifest rm` removes it")
    })
}
