//! Rows of networks that somebody created. The table comes with the first of them; the default network has no row.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::images::collect;
use crate::network::NetworkRecord;
use crate::{Error, Kind, Result};

/// The table. Networks are few, so a record is found by reading all of them.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS networks (
    id     TEXT PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
) WITHOUT ROWID;
";

/// Records a network.
pub(crate) fn insert(db: &Transaction<'_>, record: &NetworkRecord) -> Result<()> {
    db.execute_batch(TABLE).map_err(Error::database("record a network"))?;
    if all(db)?.iter().any(|other| other.name == record.name) {
        return Err(Error::refused(Kind::AlreadyExists, format!("network with name {} already exists", record.name)));
    }
    let text = serde_json::to_string(record).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    db.execute("INSERT INTO networks (id, name, record) VALUES (?1, ?2, ?3)", params![record.id, record.name, text])
        .map(drop)
        .map_err(Error::database("record a network"))
}

/// Forgets a network.
pub(crate) fn delete(db: &Transaction<'_>, id: &str) -> Result<()> {
    db.execute("DELETE FROM networks WHERE id = ?1", [id]).map(drop).map_err(Error::database("remove a network"))
}

/// All networks, by name.
pub(crate) fn all(db: &Connection) -> Result<Vec<NetworkRecord>> {
    let there = db
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'networks'", [], |_| Ok(()))
        .optional()
        .map_err(Error::database("look up networks"))?;
    if there.is_none() {
        return Ok(Vec::new());
    }
    let texts = collect(db, "SELECT record FROM networks ORDER BY name", [], |row| row.get::<_, String>(0))?;
    let read = |text: &String| {
        serde_json::from_str(text)
            .map_err(|error| Error::refused(Kind::Corrupt, format!("the record of a network cannot be read: {error}")))
    };
    texts.iter().map(read).collect()
}
