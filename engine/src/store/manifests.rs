//! Rows of manifests: which image each describes, which blobs of its layers are here, and how long it is needed.
//!
//! Two names of one image may have come with two manifests, which list its layers in two compressions. Each keeps its own
//! blobs, so that each name goes back as it came; unpacked, a layer is there once.

use mica_layer::{DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::images::{collect, digest, parsed};
use crate::{Error, Reference, Result};

/// Manifests that somebody means: by a name, by a name that is a digest, through an index that has a name, or in a list that is
/// made here.
const NAMED: &str = "
WITH named (digest) AS (
    SELECT manifest FROM tags WHERE manifest IS NOT NULL
    UNION SELECT digest FROM digests
    UNION SELECT x.manifest FROM index_manifests x WHERE x.idx IN (SELECT idx FROM tags) OR x.idx IN (SELECT digest FROM digests)
    UNION SELECT member.value ->> '$.descriptor.digest' FROM lists, json_each(lists.record, '$.members') member
)";

/// A manifest goes when nobody means it and its image has another one: a named one, or one that came later. So what is loaded
/// without a name still goes out as it came.
const UNNEEDED: &str = "digest NOT IN (SELECT digest FROM named WHERE digest IS NOT NULL)
AND EXISTS (SELECT 1 FROM manifests o WHERE o.image = manifests.image AND o.digest <> manifests.digest
            AND (o.digest IN (SELECT digest FROM named) OR (o.added, o.digest) > (manifests.added, manifests.digest)))";

/// Records the manifest of an image that has its row, with those of its layers' blobs that have theirs.
pub(crate) fn insert(
    db: &Transaction<'_>,
    manifest: &Digest,
    image: &Digest,
    layers: &[(DiffId, Digest)],
) -> Result<()> {
    let fail = || Error::database("record a manifest");
    db.execute(
        "INSERT INTO manifests (digest, image, added) VALUES (?1, ?2, ?3)
         ON CONFLICT (digest) DO UPDATE SET image = excluded.image, added = excluded.added",
        params![manifest.as_str(), image.as_str(), jiff::Timestamp::now().as_microsecond()],
    )
    .map_err(fail())?;
    for (layer, blob) in layers {
        db.prepare_cached(
            "INSERT OR IGNORE INTO manifest_blobs (manifest, blob, diff_id) SELECT ?1, digest, ?2 FROM blobs WHERE digest = ?3",
        )
        .and_then(|mut statement| statement.execute(params![manifest.as_str(), layer.0.as_str(), blob.as_str()]))
        .map_err(fail())?;
    }
    Ok(())
}

/// The manifest by which an image is meant: that of the name, or the last one that came.
pub(crate) fn meant(db: &Connection, image: &Digest, reference: Option<&Reference>) -> Result<Option<Digest>> {
    let own = match reference {
        Some(reference) => of_tag(db, reference)?,
        None => None,
    };
    match own {
        Some(manifest) => Ok(Some(manifest)),
        None => Ok(of_image(db, image)?.into_iter().next()),
    }
}

/// The manifest by which a list means an image: the one it lists, as long as that is here, or the last one that came.
pub(crate) fn listed_or_meant(db: &Connection, image: &Digest, listed: &Digest) -> Result<Option<Digest>> {
    match image_of(db, listed)?.as_ref() == Some(image) {
        true => Ok(Some(listed.clone())),
        false => meant(db, image, None),
    }
}

/// The manifest that a name came with.
pub(crate) fn of_tag(db: &Connection, reference: &Reference) -> Result<Option<Digest>> {
    let sql = "SELECT manifest FROM tags WHERE reference = ?1 AND manifest IS NOT NULL";
    Ok(collect(db, sql, [reference.to_string()], |row| digest(row, 0))?.into_iter().next())
}

/// The manifests of an image, the last one first.
pub(crate) fn of_image(db: &Connection, image: &Digest) -> Result<Vec<Digest>> {
    let sql = "SELECT digest FROM manifests WHERE image = ?1 ORDER BY added DESC, digest DESC";
    collect(db, sql, [image.as_str()], |row| digest(row, 0))
}

/// The manifest by which an image is meant that was named by a digest: that one, or the one that the index of that digest lists.
pub(crate) fn pinned(db: &Connection, image: &Digest, name: &Digest) -> Result<Option<Digest>> {
    let sql = "SELECT digest FROM manifests WHERE image = ?1
               AND (digest = ?2 OR digest IN (SELECT manifest FROM index_manifests WHERE idx = ?2))";
    Ok(collect(db, sql, params![image.as_str(), name.as_str()], |row| digest(row, 0))?.into_iter().next())
}

/// The image that a manifest describes.
pub(crate) fn image_of(db: &Connection, manifest: &Digest) -> Result<Option<Digest>> {
    db.prepare_cached("SELECT image FROM manifests WHERE digest = ?1")
        .and_then(|mut statement| statement.query_row([manifest.as_str()], |row| digest(row, 0)).optional())
        .map_err(Error::database("look up a manifest"))
}

/// The blobs of a manifest's layers that are here, with their layers and sizes.
pub(crate) fn blobs_of(db: &Connection, manifest: &Digest) -> Result<Vec<(DiffId, Digest, u64)>> {
    let sql = "SELECT b.diff_id, b.blob, blobs.size FROM manifest_blobs b JOIN blobs ON blobs.digest = b.blob
               WHERE b.manifest = ?1 ORDER BY b.blob";
    collect(db, sql, [manifest.as_str()], |row| {
        Ok((parsed(row, 0)?, digest(row, 1)?, row.get::<_, i64>(2)?.unsigned_abs()))
    })
}

/// The blobs of an image's layers in all forms that its manifests keep.
pub(crate) fn forms_of(db: &Connection, image: &Digest) -> Result<Vec<Digest>> {
    let sql =
        "SELECT DISTINCT b.blob FROM manifests m JOIN manifest_blobs b ON b.manifest = m.digest WHERE m.image = ?1";
    collect(db, sql, [image.as_str()], |row| digest(row, 0))
}

/// The blobs of a layer that manifests keep.
pub(crate) fn forms_of_layer(db: &Connection, layer: &DiffId) -> Result<Vec<Digest>> {
    let sql = "SELECT DISTINCT blob FROM manifest_blobs WHERE diff_id = ?1 ORDER BY blob";
    collect(db, sql, [layer.0.as_str()], |row| digest(row, 0))
}

/// Says that a blob of a layer is gone: what lists it is no longer whole.
pub(crate) fn forget_blob(db: &Transaction<'_>, blob: &Digest) -> Result<()> {
    db.execute("DELETE FROM manifest_blobs WHERE blob = ?1", [blob.as_str()])
        .map(drop)
        .map_err(Error::database("forget a blob"))
}

/// True when some manifest would go with the next sweep.
pub(crate) fn has_unneeded(db: &Connection) -> Result<bool> {
    db.prepare_cached(&format!("{NAMED} SELECT 1 FROM manifests WHERE {UNNEEDED}"))
        .and_then(|mut statement| statement.exists([]))
        .map_err(Error::database("look for manifests that nobody needs"))
}

/// What a sweep has to hold for manifests: themselves and their layers' blobs, and layers of which another blob may be kept
/// afterwards, with that blob.
#[derive(Debug, Default)]
pub(crate) struct Loose {
    pub(crate) documents: Vec<Digest>,
    pub(crate) layers: Vec<(DiffId, Digest)>,
}

/// Manifests that seem to be needed by nobody.
pub(crate) fn loose(db: &Connection) -> Result<Loose> {
    let documents = format!(
        "{NAMED}, loose (digest) AS (SELECT digest FROM manifests WHERE {UNNEEDED})
         SELECT digest FROM loose UNION SELECT blob FROM manifest_blobs WHERE manifest IN (SELECT digest FROM loose)"
    );
    let layers = "SELECT DISTINCT l.diff_id, l.blob FROM manifest_blobs b JOIN layers l ON l.diff_id = b.diff_id
                  WHERE b.blob <> l.blob";
    Ok(Loose {
        documents: collect(db, &documents, [], |row| digest(row, 0))?,
        layers: collect(db, layers, [], |row| Ok((parsed(row, 0)?, digest(row, 1)?)))?,
    })
}

/// Takes away the rows of manifests that nobody needs.
pub(crate) fn take_unneeded(db: &Transaction<'_>) -> Result<()> {
    let sql = format!("{NAMED} DELETE FROM manifests WHERE {UNNEEDED}");
    db.execute(&sql, []).map(drop).map_err(Error::database("sweep manifests"))
}

/// Keeps of a layer a blob that a manifest lists in place of one that none does; true when that was so.
pub(crate) fn prefer_listed(db: &Transaction<'_>, layer: &DiffId) -> Result<bool> {
    db.prepare_cached(
        "UPDATE layers SET blob = (SELECT min(blob) FROM manifest_blobs b WHERE b.diff_id = layers.diff_id)
         WHERE diff_id = ?1 AND NOT EXISTS (SELECT 1 FROM manifest_blobs b WHERE b.blob = layers.blob)
         AND EXISTS (SELECT 1 FROM manifest_blobs b WHERE b.diff_id = layers.diff_id)",
    )
    .and_then(|mut statement| statement.execute([layer.0.as_str()]))
    .map(|count| count > 0)
    .map_err(Error::database("choose a layer's blob"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::images::{self, Tagged, set_tag};
    use crate::store::{Flush, Store, remote};

    fn d(name: &str) -> Digest {
        Digest::sha256_of(name.as_bytes())
    }

    fn r(name: &str) -> Reference {
        Reference::parse(name).unwrap()
    }

    /// One image of one layer, that came as `gz` and then as `zst` over a blob of each; no names yet.
    fn store(directory: &std::path::Path) -> Store {
        let store = Store::open(&directory.join("root"), &directory.join("run"), crate::Durability::None).unwrap();
        store
            .write(Flush::Later, |db| {
                for name in ["image", "gz", "zst", "gz-blob", "zst-blob"] {
                    images::insert_blob(db, &d(name), 1)?;
                }
                let fail = || Error::database("fill");
                let (image, layer) = (d("image").to_string(), d("layer").to_string());
                db.execute("INSERT INTO images (id, size, labels, added) VALUES (?1, 0, '{}', 0)", [&image])
                    .map_err(fail())?;
                let blob = d("gz-blob").to_string();
                db.execute("INSERT INTO layers VALUES (?1, ?2, 0, NULL)", [&layer, &blob]).map_err(fail())?;
                db.execute("INSERT INTO image_layers VALUES (?1, 0, ?2)", [&image, &layer]).map_err(fail())?;
                insert(db, &d("gz"), &d("image"), &[(DiffId(d("layer")), d("gz-blob"))])?;
                insert(db, &d("zst"), &d("image"), &[(DiffId(d("layer")), d("zst-blob"))])?;
                // Two manifests of one microsecond have no order that a test can know.
                db.execute("UPDATE manifests SET added = 1 WHERE digest = ?1", [d("gz").as_str()])
                    .map(drop)
                    .map_err(fail())
            })
            .unwrap();
        store
    }

    /// What is named by what, and what is left: manifests, blobs, and the blob that the layer has.
    #[test]
    fn a_manifest_stays_as_long_as_somebody_means_it() {
        let both: (&[&str], &str) = (&["gz", "gz-blob", "image", "zst", "zst-blob"], "gz-blob");
        let gz: (&[&str], &str) = (&["gz", "gz-blob", "image"], "gz-blob");
        let zst: (&[&str], &str) = (&["image", "zst", "zst-blob"], "zst-blob");
        for (tags, pinned, left) in [
            // Nobody means one: the last one stays.
            (&[][..], &[][..], zst),
            (&[("r/a:1", "gz")], &[], gz),
            (&[("r/a:1", "zst")], &[], zst),
            (&[("r/a:1", "gz"), ("s/a:1", "zst")], &[], both),
            (&[("r/a:1", "zst")], &["gz"], both),
            (&[], &["gz"], gz),
            // A name that moves on leaves the former manifest to nobody.
            (&[("r/a:1", "gz"), ("r/a:1", "zst")], &["gz", "zst"], zst),
            (&[("r/a:1", "gz"), ("r/a:2", "gz"), ("r/a:1", "zst")], &["gz", "zst"], both),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let store = store(directory.path());
            store
                .write(Flush::Later, |db| {
                    for name in pinned {
                        remote::insert_name(db, &r("r/a").repository(), &d(name), &d("image"))?;
                    }
                    for (name, manifest) in tags {
                        let target = Tagged { image: &d("image"), index: None, manifest: Some(&d(manifest)) };
                        set_tag(db, &r(name), target)?;
                    }
                    Ok(())
                })
                .unwrap();
            let is_loose = store.read(has_unneeded).unwrap();
            drop(store.sweep().unwrap());
            assert!(!store.read(has_unneeded).unwrap(), "{tags:?} {pinned:?}");
            assert_eq!(is_loose, left != both, "{tags:?} {pinned:?}");
            let named: Vec<String> =
                store.read(|db| collect(db, "SELECT digest FROM blobs", [], |row| row.get(0))).unwrap();
            let mut found: Vec<&str> = ["gz", "gz-blob", "image", "zst", "zst-blob"].into();
            found.retain(|name| named.contains(&d(name).to_string()));
            let layer = store.read(|db| super::super::layers::layer(db, &DiffId(d("layer")))).unwrap().unwrap();
            assert_eq!((&found[..], layer.blob), (left.0, d(left.1)), "{tags:?} {pinned:?}");
        }
    }

    #[test]
    fn an_image_is_meant_by_what_its_name_came_with() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let repository = r("r/a").repository();
        store
            .write(Flush::Later, |db| {
                for (name, manifest) in [("r/a:1", Some("gz")), ("r/a:2", Some("zst")), ("r/a:3", None)] {
                    let manifest = manifest.map(d);
                    set_tag(db, &r(name), Tagged { image: &d("image"), index: None, manifest: manifest.as_ref() })?;
                }
                remote::insert_name(db, &repository, &d("gz"), &d("image"))
            })
            .unwrap();
        let hex = d("image").hex().to_owned();
        for (name, expected) in [
            ("r/a:1".to_owned(), "gz"),
            ("r/a:2".to_owned(), "zst"),
            ("r/a:3".to_owned(), "zst"),
            (hex, "zst"),
            (format!("r/a@{}", d("gz")), "gz"),
            (format!("r/a@{}", d("zst")), "zst"),
        ] {
            let found = store.read(|db| images::resolve(db, &name)).unwrap();
            assert_eq!((found.id, found.manifest), (d("image"), Some(d(expected))), "{name}");
        }
        // The image goes with all of it.
        store.write(Flush::Later, |db| images::delete(db, &d("image"))).unwrap();
        drop(store.sweep().unwrap());
        let count = |sql: &str| store.read(|db| collect(db, sql, [], |row| row.get::<_, i64>(0))).unwrap()[0];
        for table in ["blobs", "manifests", "manifest_blobs", "layers", "tags", "digests"] {
            assert_eq!(count(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
        }
    }
}
