//! Rows of images and their names, and how a name that a person typed becomes an image.

use std::collections::BTreeMap;

use mica_layer::{ChainId, DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{Store, lists, manifests, remote};
use crate::image::ImageConfig;
use crate::ops::images::CameWith;
use crate::reference::is_id;
use crate::{Engine, Error, Kind, Platform, Reference, Result};

/// An image as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Digest of the config.
    pub id: Digest,
    /// Digest of the last manifest it came with.
    pub manifest: Option<Digest>,
    /// The stack's identity; `None` for an image without layers.
    pub chain_id: Option<ChainId>,
    /// RFC 3339.
    pub created: Option<String>,
    /// Bytes of file content in all layers.
    pub size: u64,
    /// Labels of the config.
    pub labels: BTreeMap<String, String>,
}

/// An image that was looked up, with its config.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundImage {
    /// Digest of the config.
    pub id: Digest,
    /// The config.
    pub config: ImageConfig,
}

impl Engine {
    /// Finds an image by name, `name@digest`, or a full or short ID. One that is not there is `Kind::NotFound`.
    pub async fn find_image(&self, name: &str) -> Result<FoundImage> {
        let name = name.to_owned();
        self.blocking(move |engine| engine.store().find_image(&name)).await
    }
}

impl Store {
    /// Finds an image and reads its config. Blocks.
    pub(crate) fn find_image(&self, name: &str) -> Result<FoundImage> {
        let id = self.read(|db| resolve(db, name))?.id;
        let config = self.image_config(&id)?;
        Ok(FoundImage { id, config })
    }

    /// Like [`Store::find_image`]; a name that stands for several platforms leads to the image for this one. Blocks.
    pub(crate) fn find_image_for(&self, name: &str, platform: &Platform) -> Result<FoundImage> {
        let listed = self.read(|db| {
            let resolved = resolve(db, name)?;
            let index = match &resolved.reference {
                Some(reference) => remote::index_of(db, reference)?,
                None => Reference::parse(name).ok().and_then(|reference| reference.digest().cloned()),
            };
            let mut ids = vec![resolved.id];
            if let Some((_, list)) = lists::meant(db, name)? {
                ids.extend(lists::entries(db, &list)?.into_iter().filter_map(|(_, image)| image));
            }
            if let Some(index) = index {
                ids.extend(remote::listed(db, &index)?.into_iter().map(|listed| listed.image));
            }
            Ok(ids)
        })?;
        let mut best: Option<(u32, FoundImage)> = None;
        for id in listed {
            let config = self.image_config(&id)?;
            let rank = platform.rank(&config.platform());
            if let Some(rank) = rank.filter(|rank| best.as_ref().is_none_or(|(least, _)| rank < least)) {
                best = Some((rank, FoundImage { id, config }));
            }
        }
        best.map(|(_, found)| found)
            .ok_or_else(|| Error::refused(Kind::NotFound, format!("no such image: `{name}` for platform `{platform}`")))
    }

    /// An image's config, verified against its digest.
    pub(crate) fn image_config(&self, id: &Digest) -> Result<ImageConfig> {
        let bytes = self.read_document(id)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::refused(Kind::Corrupt, format!("the config of image `{}` cannot be read: {error}", id.short()))
        })
    }
}

/// How a typed name found its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) id: Digest,
    /// The name that exists as a row; `None` when it was found by ID, by digest or through a list.
    pub(crate) reference: Option<Reference>,
    /// The manifest by which the image is meant, when it came with one.
    pub(crate) manifest: Option<Digest>,
}

impl Resolved {
    fn nameless(db: &Connection, id: Digest) -> Result<Resolved> {
        let manifest = manifests::meant(db, &id, None)?;
        Ok(Resolved { id, reference: None, manifest })
    }
}

/// Finds an image: an exact name first, then `name@digest`, then a list that is made here, then an ID or the beginning of
/// one. A list leads to its image for this machine.
pub(crate) fn resolve(db: &Connection, name: &str) -> Result<Resolved> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let reference = if is_id(hex) || name.starts_with("sha256:") { None } else { Reference::parse(name).ok() };
    if let Some(reference) = &reference {
        if let Some(id) = tagged(db, reference)? {
            let manifest = manifests::meant(db, &id, Some(reference))?;
            return Ok(Resolved { id, reference: Some(reference.clone()), manifest });
        }
        if let (Some(id), Some(wanted)) = (pinned(db, reference)?, reference.digest()) {
            let found = Resolved::nameless(db, id)?;
            let manifest = manifests::pinned(db, &found.id, wanted)?.or(found.manifest);
            return Ok(Resolved { manifest, ..found });
        }
        if let Some((_, list)) = lists::meant(db, name)?
            && let Some(id) = lists::native(db, &list)?
        {
            return Resolved::nameless(db, id);
        }
    }
    if !hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        if let Some(id) = by_prefix(db, hex)? {
            return Resolved::nameless(db, id);
        }
    } else if reference.is_none() {
        // Not an ID and not a name: say what is wrong with it as a name.
        Reference::parse(name)?;
    }
    let shown = reference.map_or_else(|| name.to_owned(), |reference| reference.familiar());
    Err(Error::refused(Kind::NotFound, format!("no such image: `{shown}`")))
}

/// The image that has exactly this name.
pub(crate) fn tagged(db: &Connection, reference: &Reference) -> Result<Option<Digest>> {
    db.prepare_cached("SELECT image FROM tags WHERE reference = ?1")
        .and_then(|mut statement| statement.query_row([reference.to_string()], |row| digest(row, 0)).optional())
        .map_err(Error::database("look up an image"))
}

/// The image named by a digest: that of its manifest, of an index that lists it, or of its config. The repository must be
/// one of its names.
fn pinned(db: &Connection, reference: &Reference) -> Result<Option<Digest>> {
    let Some(wanted) = reference.digest() else { return Ok(None) };
    let known = remote::named(db, &reference.repository(), wanted)?;
    if !known.is_empty() {
        return native(db, known).map(Some);
    }
    let prefix = format!("{}:", reference.repository());
    db.prepare_cached(
        "SELECT id FROM images WHERE (id = ?1 OR id = (SELECT image FROM manifests WHERE digest = ?1))
         AND EXISTS (SELECT 1 FROM tags WHERE image = id AND substr(reference, 1, length(?2)) = ?2)",
    )
    .and_then(|mut statement| statement.query_row(params![wanted.as_str(), prefix], |row| digest(row, 0)).optional())
    .map_err(Error::database("look up an image"))
}

/// Of several images, the one that suits this machine best; the first when none does.
fn native(db: &Connection, images: Vec<Digest>) -> Result<Digest> {
    let host = Platform::host();
    let mut best: Option<(u32, Digest)> = None;
    for id in &images {
        let sql = "SELECT platform FROM manifests f JOIN index_manifests m ON m.manifest = f.digest
                   WHERE f.image = ?1 AND platform IS NOT NULL LIMIT 1";
        let platforms: Vec<String> = collect(db, sql, [id.as_str()], |row| row.get(0))?;
        let rank = platforms.first().and_then(|text| host.rank(&text.parse().ok()?));
        if let Some(rank) = rank.filter(|rank| best.as_ref().is_none_or(|(least, _)| rank < least)) {
            best = Some((rank, id.clone()));
        }
    }
    let chosen = best.map(|(_, id)| id).or_else(|| images.into_iter().next());
    chosen.ok_or_else(|| Error::refused(Kind::NotFound, "no such image"))
}

fn by_prefix(db: &Connection, hex: &str) -> Result<Option<Digest>> {
    let low = format!("sha256:{hex}");
    // `g` comes after every hexadecimal digit.
    let high = format!("sha256:{hex}g");
    let found: Vec<Digest> =
        collect(db, "SELECT id FROM images WHERE id >= ?1 AND id < ?2 LIMIT 2", params![low, high], |row| {
            digest(row, 0)
        })?;
    match found.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some(id.clone())),
        _ => Err(Error::refused(Kind::InvalidInput, format!("several images have an ID that begins with `{hex}`"))
            .with_hint("give more digits")),
    }
}

const SELECT: &str =
    "SELECT id, (SELECT m.digest FROM manifests m WHERE m.image = id ORDER BY m.added DESC, m.digest DESC LIMIT 1),
    chain_id, created, size, labels FROM images";

/// Every image, youngest row first.
pub(crate) fn all(db: &Connection) -> Result<Vec<ImageRow>> {
    collect(db, &format!("{SELECT} ORDER BY images.added DESC, id"), [], image_row)
}

/// One image.
pub(crate) fn one(db: &Connection, id: &Digest) -> Result<Option<ImageRow>> {
    let rows = collect(db, &format!("{SELECT} WHERE id = ?1"), [id.as_str()], image_row)?;
    Ok(rows.into_iter().next())
}

/// Bytes of file content of every image.
pub(crate) fn sizes(db: &Connection) -> Result<BTreeMap<Digest, u64>> {
    let read = |row: &Row<'_>| Ok((digest(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    collect(db, "SELECT id, size FROM images", [], read).map(|rows| rows.into_iter().collect())
}

/// A name, its image, and what it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagRow {
    pub(crate) reference: Reference,
    pub(crate) image: Digest,
    pub(crate) came_with: CameWith,
}

/// Every name.
pub(crate) fn all_tags(db: &Connection) -> Result<Vec<TagRow>> {
    tag_rows(db, "SELECT reference, image, idx, manifest FROM tags ORDER BY reference", [])
}

/// The names of one image with what they came with.
pub(crate) fn tag_rows_of(db: &Connection, id: &Digest) -> Result<Vec<TagRow>> {
    tag_rows(db, "SELECT reference, image, idx, manifest FROM tags WHERE image = ?1 ORDER BY reference", [id.as_str()])
}

fn tag_rows(db: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<TagRow>> {
    let rows = collect(db, sql, parameters, |row| {
        let came_with = CameWith { index: optional(row, 2)?, manifest: optional(row, 3)? };
        Ok((row.get::<_, String>(0)?, digest(row, 1)?, came_with))
    })?;
    let read = |(text, image, came_with): (String, _, _)| {
        Ok(TagRow { reference: Reference::parse_name(&text)?, image, came_with })
    };
    rows.into_iter().map(read).collect()
}

/// The names of one image.
pub(crate) fn tags_of(db: &Connection, id: &Digest) -> Result<Vec<Reference>> {
    let rows: Vec<String> =
        collect(db, "SELECT reference FROM tags WHERE image = ?1 ORDER BY reference", [id.as_str()], |row| row.get(0))?;
    rows.iter().map(|text| Reference::parse_name(text)).collect()
}

/// The names that a repository has here, sorted.
pub(crate) fn tags_in(db: &Connection, repository: &str) -> Result<Vec<Reference>> {
    let sql = "SELECT reference FROM tags WHERE substr(reference, 1, length(?1)) = ?1 ORDER BY reference";
    let rows: Vec<String> = collect(db, sql, [format!("{repository}:")], |row| row.get(0))?;
    rows.iter().map(|text| Reference::parse_name(text)).collect()
}

/// The layers of an image, bottom first.
pub(crate) fn stack_of(db: &Connection, id: &Digest) -> Result<Vec<DiffId>> {
    collect(db, "SELECT diff_id FROM image_layers WHERE image = ?1 ORDER BY position", [id.as_str()], |row| {
        digest(row, 0).map(DiffId)
    })
}

/// What is recorded of a new image.
#[derive(Debug)]
pub(crate) struct NewImage<'a> {
    pub(crate) id: &'a Digest,
    pub(crate) config: &'a ImageConfig,
}

/// Records an image whose blobs and layers have rows. One that is there already stays.
pub(crate) fn insert(db: &Transaction<'_>, image: &NewImage<'_>) -> Result<()> {
    let stack = &image.config.rootfs.diff_ids;
    let chain = ChainId::of(stack).map(|chain| chain.to_string());
    let labels = serde_json::to_string(&image.config.config.labels.clone().unwrap_or_default())
        .map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    let fail = || Error::database("record an image");
    let mut size = 0i64;
    for diff_id in stack {
        size += db
            .query_row("SELECT size FROM layers WHERE diff_id = ?1", [diff_id.0.as_str()], |row| row.get::<_, i64>(0))
            .map_err(fail())?;
    }
    let added = jiff::Timestamp::now().as_microsecond();
    db.execute(
        "INSERT INTO images (id, chain_id, created, size, labels, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO NOTHING",
        params![image.id.as_str(), chain, image.config.created, size, labels, added],
    )
    .map_err(fail())?;
    for (position, diff_id) in stack.iter().enumerate() {
        db.execute(
            "INSERT OR IGNORE INTO image_layers (image, position, diff_id) VALUES (?1, ?2, ?3)",
            params![image.id.as_str(), position as i64, diff_id.0.as_str()],
        )
        .map_err(fail())?;
    }
    Ok(())
}

/// What a name is given to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tagged<'a> {
    pub(crate) image: &'a Digest,
    /// The index that stands for the name, when the image came from one.
    pub(crate) index: Option<&'a Digest>,
    /// The manifest it came with by that name, when it came with one.
    pub(crate) manifest: Option<&'a Digest>,
}

/// Gives an image a name; returns the image that had it before, if it was another one.
pub(crate) fn set_tag(db: &Transaction<'_>, reference: &Reference, target: Tagged<'_>) -> Result<Option<Digest>> {
    let before = tagged(db, reference)?;
    let former = manifests::of_tag(db, reference)?.filter(|former| Some(former) != target.manifest);
    db.execute(
        "INSERT INTO tags (reference, image, tagged, idx, manifest) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (reference) DO UPDATE SET
         image = excluded.image, tagged = excluded.tagged, idx = excluded.idx, manifest = excluded.manifest",
        params![
            reference.to_string(),
            target.image.as_str(),
            jiff::Timestamp::now().to_string(),
            target.index.map(Digest::as_str),
            target.manifest.map(Digest::as_str)
        ],
    )
    .map_err(Error::database("record a name"))?;
    // An image that has lost its name to another one is still called by its digest; one that came in another form is not called
    // by the former as well.
    if let Some(former) = former.filter(|_| before.as_ref() == Some(target.image)) {
        remote::delete_name_unless_tagged(db, &reference.repository(), &former, target.image)?;
    }
    Ok(before.filter(|before| before != target.image))
}

/// Records a blob that is in place.
pub(crate) fn insert_blob(db: &Transaction<'_>, digest: &Digest, size: u64) -> Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO blobs (digest, size) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![digest.as_str(), size as i64]))
        .map(drop)
        .map_err(Error::database("record a blob"))
}

/// True when a blob has a row.
pub(crate) fn has_blob(db: &Connection, digest: &Digest) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")
        .and_then(|mut statement| statement.exists([digest.as_str()]))
        .map_err(Error::database("look up a blob"))
}

/// Takes an image away with its names.
pub(crate) fn delete(db: &Transaction<'_>, id: &Digest) -> Result<()> {
    db.execute("DELETE FROM images WHERE id = ?1", [id.as_str()]).map(drop).map_err(Error::database("remove an image"))
}

/// Takes a name away; false when it was not there.
pub(crate) fn delete_tag(db: &Transaction<'_>, reference: &Reference) -> Result<bool> {
    db.execute("DELETE FROM tags WHERE reference = ?1", [reference.to_string()])
        .map(|count| count > 0)
        .map_err(Error::database("remove a name"))
}

/// Runs a query and collects its rows.
pub(crate) fn collect<T>(
    db: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    db.prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(parameters, read)?.collect())
        .map_err(Error::database("read rows"))
}

/// A digest column.
pub(crate) fn digest(row: &Row<'_>, index: usize) -> rusqlite::Result<Digest> {
    parsed(row, index)
}

/// A column of text that has a type of its own.
pub(crate) fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error)))
}

fn optional(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Digest>> {
    if row.get_ref(index)? == rusqlite::types::ValueRef::Null { Ok(None) } else { digest(row, index).map(Some) }
}

fn image_row(row: &Row<'_>) -> rusqlite::Result<ImageRow> {
    let labels: String = row.get(5)?;
    Ok(ImageRow {
        id: digest(row, 0)?,
        manifest: optional(row, 1)?,
        chain_id: optional(row, 2)?.map(ChainId),
        created: row.get(3)?,
        size: row.get::<_, i64>(4)?.unsigned_abs(),
        labels: serde_json::from_str(&labels).unwrap_or_default(),
    })
}
