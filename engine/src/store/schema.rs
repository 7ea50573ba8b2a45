//! The metadata database's tables. Rows are claims about bytes that exist already; nothing here is a file's content.
//!
//! ```text
//! tags ─► images ─► image_layers ─► layers ─► blobs
//!   containers ─► snapshots ─► objects        (a driver's directories)
//!                     └─► layers, parent snapshot
//!   build_cache ─► build_cache_owners ─► images
//! ```
//!
//! `boot` columns mark what has not been flushed yet with the boot it was written in. After a power cut the boot differs,
//! and recovery drops the row instead of trusting bytes that may be missing.

use rusqlite::Connection;

/// The version this program writes; it refuses newer ones and migrates older ones.
pub(crate) const VERSION: i32 = 1;

/// Creates the tables of version 1.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "user_version", VERSION)
}

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
