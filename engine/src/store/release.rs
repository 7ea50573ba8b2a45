//! Letting go of chains on one driver while their images stay: what is left of them is garbage that the sweep takes.

use mica_layer::ChainId;
use rusqlite::params;

use super::images::collect;
use super::locks::LockName;
use super::{Flush, Store};
use crate::{Error, Result};

impl Store {
    /// Takes the rows of chains on a driver away, each with its upper ones before it. One that a container or another chain
    /// stands on stays, and so does one that somebody uses just now.
    pub(crate) fn release(&self, driver: &str, tops_first: &[ChainId]) -> Result<()> {
        let mut held = Vec::new();
        for chain in tops_first {
            held.extend(
                self.try_lock(&LockName::Chain(driver.to_owned(), chain.clone()))?.map(|lock| (chain.0.as_str(), lock)),
            );
        }
        self.write(Flush::Later, |db| {
            for (chain, _) in &held {
                db.prepare_cached(
                    "DELETE FROM snapshots WHERE driver = ?1 AND chain_id = ?2
                     AND NOT EXISTS (SELECT 1 FROM snapshots child WHERE child.driver = ?1 AND child.parent = ?2)
                     AND NOT EXISTS (SELECT 1 FROM containers WHERE driver = ?1 AND chain_id = ?2)",
                )
                .and_then(|mut statement| statement.execute(params![driver, chain]))
                .map_err(Error::database("release a chain"))?;
            }
            Ok(())
        })
    }

    /// Every chain of a driver, those that stand on others before these.
    pub(crate) fn chains_of(&self, driver: &str) -> Result<Vec<ChainId>> {
        let sql = "WITH RECURSIVE depths (chain_id, depth) AS (
                       SELECT chain_id, 0 FROM snapshots WHERE driver = ?1 AND parent IS NULL
                       UNION ALL
                       SELECT s.chain_id, depth + 1 FROM depths d JOIN snapshots s ON s.driver = ?1 AND s.parent = d.chain_id
                   )
                   SELECT chain_id FROM depths ORDER BY depth DESC";
        self.read(|db| collect(db, sql, [driver], |row| super::images::digest(row, 0).map(ChainId)))
    }

    /// The drivers that hold a chain.
    pub(crate) fn holders_of(&self, chain: &ChainId) -> Result<Vec<String>> {
        let sql = "SELECT driver FROM snapshots WHERE chain_id = ?1 ORDER BY driver";
        self.read(|db| collect(db, sql, [chain.0.as_str()], |row| row.get(0)))
    }
}
