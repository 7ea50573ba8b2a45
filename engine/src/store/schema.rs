//! The metadata database's tables. Rows are claims about bytes that exist already; nothing here is a file's content.
//!
//! ```text
//! tags ─► images ─► image_layers ─► layers ─► blobs
//!  ├─► manifests ─► images            (an image has one for each form in which it came)
//!  │      └─► manifest_blobs ─► blobs (the layers of that form which are here)
//!  └─► indexes ─► index_manifests     (by manifest) ─► manifests
//!   digests ─► images                 (names by digest: `repository@sha256:…`)
//!   lists                             (indexes that are made here; their images may be anywhere)
//!   containers ─► snapshots ─► objects        (a driver's directories)
//!                     └─► layers, parent snapshot
//!   build_cache ─► build_cache_owners ─► images
//!   blob_places, packed               (what registries are known to have; only ever hints)
//! ```
//!
//! `preferences` comes when somebody first states one ([`super::preference`]).
//!
//! `boot` columns mark what has not been flushed yet with the boot it was written in. After a power cut the boot differs,
//! and recovery does not trust bytes that may be missing: it drops a layer's row, and calls an object broken, which is made
//! again from the layer's blob.

use rusqlite::Connection;

/// The version this program writes; it refuses newer ones and migrates older ones.
pub(crate) const VERSION: i32 = 2;

/// Brings a database of an older version, or an empty one, to this version.
pub(crate) fn migrate(connection: &Connection, from: i32) -> rusqlite::Result<()> {
    for (version, tables) in [(1, TABLES), (2, REGISTRIES), (2, MANIFESTS), (2, CONTAINERS)] {
        if from < version {
            connection.execute_batch(tables)?;
        }
    }
    connection.pragma_update(None, "user_version", VERSION)
}

/// Version 2: what registries and images of several platforms need.
const REGISTRIES: &str = "
CREATE TABLE indexes (
    digest TEXT PRIMARY KEY REFERENCES blobs (digest)
) WITHOUT ROWID;

CREATE TABLE index_manifests (
    idx      TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    platform TEXT,
    PRIMARY KEY (idx, position)
) WITHOUT ROWID;
CREATE INDEX index_manifests_by_manifest ON index_manifests (manifest);

ALTER TABLE tags ADD COLUMN idx TEXT REFERENCES indexes (digest);
CREATE INDEX tags_by_index ON tags (idx);

CREATE TABLE digests (
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (repository, digest, image)
) WITHOUT ROWID;
CREATE INDEX digests_by_image ON digests (image);
CREATE INDEX digests_by_digest ON digests (digest);

CREATE TABLE lists (
    reference TEXT PRIMARY KEY,
    record    TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE blob_places (
    blob       TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (blob, repository)
) WITHOUT ROWID;

CREATE TABLE packed (
    diff_id     TEXT NOT NULL REFERENCES layers (diff_id) ON DELETE CASCADE,
    compression TEXT NOT NULL,
    digest      TEXT NOT NULL,
    size        INTEGER NOT NULL,
    PRIMARY KEY (diff_id, compression)
) WITHOUT ROWID;
CREATE INDEX packed_by_digest ON packed (digest);
";

/// Manifests by themselves, because two names of one image may have come with two. Version 1 had one for each image; which of
/// its layers' blobs that lists is not known here, so it keeps those that the store has.
const MANIFESTS: &str = "
CREATE TABLE manifests (
    digest TEXT PRIMARY KEY REFERENCES blobs (digest),
    image  TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    added  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX manifests_by_image ON manifests (image, added);

CREATE TABLE manifest_blobs (
    manifest TEXT NOT NULL REFERENCES manifests (digest) ON DELETE CASCADE,
    blob     TEXT NOT NULL REFERENCES blobs (digest),
    diff_id  TEXT NOT NULL REFERENCES layers (diff_id) ON DELETE CASCADE,
    PRIMARY KEY (manifest, blob)
) WITHOUT ROWID;
CREATE INDEX manifest_blobs_by_blob ON manifest_blobs (blob);
CREATE INDEX manifest_blobs_by_layer ON manifest_blobs (diff_id);

INSERT INTO manifests SELECT manifest, id, added FROM images WHERE manifest IS NOT NULL;
INSERT OR IGNORE INTO manifest_blobs SELECT m.digest, l.blob, l.diff_id FROM manifests m
    JOIN image_layers i ON i.image = m.image JOIN layers l ON l.diff_id = i.diff_id;
DROP INDEX images_by_manifest;
ALTER TABLE images DROP COLUMN manifest;

ALTER TABLE tags ADD COLUMN manifest TEXT REFERENCES manifests (digest) ON DELETE SET NULL;
CREATE INDEX tags_by_manifest ON tags (manifest);
UPDATE tags SET manifest = (SELECT digest FROM manifests WHERE manifests.image = tags.image);
";

/// Version 1.
const TABLES: &str = "
CREATE TABLE blobs (
    digest  TEXT PRIMARY KEY,
    size    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE layers (
    diff_id TEXT PRIMARY KEY,
    blob    TEXT NOT NULL REFERENCES blobs (digest),
    size    INTEGER NOT NULL,
    boot    TEXT
) WITHOUT ROWID;
CREATE INDEX layers_by_blob ON layers (blob);

CREATE TABLE images (
    id       TEXT PRIMARY KEY REFERENCES blobs (digest),
    manifest TEXT REFERENCES blobs (digest),
    chain_id TEXT,
    created  TEXT,
    size     INTEGER NOT NULL,
    labels   TEXT NOT NULL,
    added    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX images_by_manifest ON images (manifest);
CREATE INDEX images_by_chain ON images (chain_id);

CREATE TABLE image_layers (
    image    TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id  TEXT NOT NULL REFERENCES layers (diff_id),
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers (diff_id);

CREATE TABLE tags (
    reference TEXT PRIMARY KEY,
    image     TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    tagged    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags (image);

CREATE TABLE objects (
    driver TEXT NOT NULL,
    key    TEXT NOT NULL,
    bytes  INTEGER NOT NULL,
    broken INTEGER NOT NULL DEFAULT 0,
    boot   TEXT,
    PRIMARY KEY (driver, key)
) WITHOUT ROWID;

CREATE TABLE snapshots (
    driver   TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    parent   TEXT,
    diff_id  TEXT NOT NULL REFERENCES layers (diff_id),
    key      TEXT NOT NULL,
    linear   INTEGER NOT NULL,
    PRIMARY KEY (driver, chain_id),
    FOREIGN KEY (driver, parent) REFERENCES snapshots (driver, chain_id),
    FOREIGN KEY (driver, key) REFERENCES objects (driver, key)
) WITHOUT ROWID;
CREATE INDEX snapshots_by_parent ON snapshots (driver, parent);
CREATE INDEX snapshots_by_key ON snapshots (driver, key);
CREATE INDEX snapshots_by_layer ON snapshots (diff_id);

CREATE TABLE containers (
    id       TEXT PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    image    TEXT NOT NULL,
    driver   TEXT NOT NULL,
    chain_id TEXT,
    created  TEXT NOT NULL,
    record   TEXT NOT NULL,
    FOREIGN KEY (driver, chain_id) REFERENCES snapshots (driver, chain_id)
) WITHOUT ROWID;
CREATE INDEX containers_by_image ON containers (image);
CREATE INDEX containers_by_chain ON containers (driver, chain_id);

CREATE TABLE volumes (
    name    TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    record  TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE build_cache (
    key      TEXT PRIMARY KEY,
    stack    TEXT NOT NULL,
    chain_id TEXT,
    used     INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE build_cache_owners (
    key   TEXT NOT NULL REFERENCES build_cache (key) ON DELETE CASCADE,
    image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (key, image)
) WITHOUT ROWID;
CREATE INDEX build_cache_owners_by_image ON build_cache_owners (image);
";

/// Containers by row number. A table without one keeps a quarter of a page of a row and puts the rest elsewhere, which costs
/// a listing another read for each record.
const CONTAINERS: &str = "
ALTER TABLE containers RENAME TO containers_of_version_1;
DROP INDEX containers_by_image;
DROP INDEX containers_by_chain;
CREATE TABLE containers (
    id       TEXT NOT NULL UNIQUE,
    name     TEXT NOT NULL UNIQUE,
    image    TEXT NOT NULL,
    driver   TEXT NOT NULL,
    chain_id TEXT,
    created  TEXT NOT NULL,
    record   TEXT NOT NULL,
    FOREIGN KEY (driver, chain_id) REFERENCES snapshots (driver, chain_id)
);
CREATE INDEX containers_by_image ON containers (image);
CREATE INDEX containers_by_chain ON containers (driver, chain_id);
INSERT INTO containers SELECT id, name, image, driver, chain_id, created, record FROM containers_of_version_1;
DROP TABLE containers_of_version_1;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_version_1_is_taken_over_with_its_rows() {
        let old = Connection::open_in_memory().unwrap();
        old.execute_batch(TABLES).unwrap();
        old.execute_batch(
            "INSERT INTO blobs VALUES ('a', 1), ('m', 1), ('l', 1), ('b', 1);
             INSERT INTO images VALUES ('a', 'm', NULL, NULL, 0, '{}', 7), ('b', NULL, NULL, NULL, 0, '{}', 0);
             INSERT INTO tags VALUES ('r:1', 'a', ''), ('r:2', 'b', '');
             INSERT INTO layers VALUES ('d', 'l', 0, NULL); INSERT INTO image_layers VALUES ('a', 0, 'd'), ('b', 0, 'd');
             INSERT INTO containers VALUES ('c', 'web', 'a', 'vfs', NULL, '', '{}')",
        )
        .unwrap();
        migrate(&old, 1).unwrap();
        let new = Connection::open_in_memory().unwrap();
        migrate(&new, 0).unwrap();
        let tables = |database: &Connection| -> Vec<String> {
            let sql = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name";
            let mut statement = database.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(tables(&old), tables(&new));
        let row = |sql: &str| old.query_row(sql, [], |row| row.get::<_, Option<String>>(0)).unwrap();
        for (sql, expected) in [
            ("SELECT image FROM tags WHERE reference = 'r:1'", Some("a")),
            ("SELECT idx FROM tags WHERE reference = 'r:1'", None),
            ("SELECT manifest FROM tags WHERE reference = 'r:1'", Some("m")),
            ("SELECT manifest FROM tags WHERE reference = 'r:2'", None),
            ("SELECT group_concat(digest || image || added) FROM manifests", Some("ma7")),
            ("SELECT group_concat(manifest || blob || diff_id) FROM manifest_blobs", Some("mld")),
        ] {
            assert_eq!(row(sql).as_deref(), expected, "{sql}");
        }
        assert_eq!(
            row("SELECT id || name || image || driver || record FROM containers").as_deref(),
            Some("cwebavfs{}")
        );
        assert_eq!(old.query_row("PRAGMA user_version", [], |row| row.get::<_, i32>(0)).unwrap(), VERSION);
    }
}
