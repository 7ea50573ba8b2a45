//! The driver that a store uses when nobody names one. Until somebody moves the store it goes without saying: it is the one
//! that holds most, and no row says so.

use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::layers;
use crate::{Error, Result};

/// The driver for what is new; nothing for a store that has none yet.
pub(crate) fn driver(db: &Connection) -> Result<Option<String>> {
    match stated(db)? {
        Some(driver) => Ok(Some(driver)),
        None => Ok(layers::drivers_in_use(db)?.into_iter().next()),
    }
}

/// States it.
pub(crate) fn set_driver(db: &Transaction<'_>, driver: &str) -> Result<()> {
    let fail = || Error::database("record the store's driver");
    // Made by whoever states something first: most stores never do, and older ones were made without it.
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS preferences (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    )
    .map_err(fail())?;
    db.execute("INSERT OR REPLACE INTO preferences (name, value) VALUES ('driver', ?1)", [driver])
        .map(drop)
        .map_err(fail())
}

fn stated(db: &Connection) -> Result<Option<String>> {
    let fail = || Error::database("look up the store's driver");
    let there = db
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'preferences'")
        .and_then(|mut statement| statement.exists([]))
        .map_err(fail())?;
    if !there {
        return Ok(None);
    }
    db.query_row("SELECT value FROM preferences WHERE name = 'driver'", [], |row| row.get(0)).optional().map_err(fail())
}
