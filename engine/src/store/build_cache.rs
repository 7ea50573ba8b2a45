//! Rows of the build cache: a step's key and the stack it led to.
//!
//! A row lives as long as one of the images whose build made or used it. It keeps those layers of a build that are not in the
//! image itself, for example of a first stage, so removing the image gives every byte back.

use mica_layer::{ChainId, DiffId, Digest};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Store, layers};
use crate::build::{CachedStep, Stack};
use crate::store::Flush;
use crate::{Error, Kind, Result};

impl Store {
    /// The result of a step, if all its layers are still there.
    pub(crate) fn cached_step(&self, key: &Digest) -> Result<Option<CachedStep>> {
        self.read(|db| {
            let stack: Option<String> = db
                .query_row("SELECT stack FROM build_cache WHERE key = ?1", [key.as_str()], |row| row.get(0))
                .optional()
                .map_err(Error::database("look up a build step"))?;
            // A row that cannot be read is a miss, never a failed build.
            let Some(diff_ids) = stack.and_then(|text| serde_json::from_str::<Vec<DiffId>>(&text).ok()) else {
                return Ok(None);
            };
            for diff_id in &diff_ids {
                if layers::layer(db, diff_id)?.is_none() {
                    return Ok(None);
                }
            }
            Ok(Some(CachedStep { stack: Stack { diff_ids } }))
        })
    }

    /// Records the result of a step.
    pub(crate) fn record_step(&self, key: &Digest, step: &CachedStep) -> Result<()> {
        self.write(Flush::Later, |db| record(db, key, step))
    }
}

/// States that an image's build made or used these steps, whose layers it holds. A row that no image owned yet may have gone
/// with another command's sweep, so it comes again.
pub(crate) fn own(db: &Transaction<'_>, steps: &[(Digest, CachedStep)], image: &Digest) -> Result<()> {
    for (key, step) in steps {
        record(db, key, step)?;
        db.execute(
            "INSERT OR IGNORE INTO build_cache_owners (key, image) VALUES (?1, ?2)",
            [key.as_str(), image.as_str()],
        )
        .map_err(Error::database("record a build step"))?;
    }
    Ok(())
}

fn record(db: &Transaction<'_>, key: &Digest, step: &CachedStep) -> Result<()> {
    let stack = serde_json::to_string(&step.stack.diff_ids)
        .map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    let chain = ChainId::of(&step.stack.diff_ids).map(|chain| chain.to_string());
    let now = jiff::Timestamp::now().as_second();
    db.execute(
        "INSERT INTO build_cache (key, stack, chain_id, used) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (key) DO UPDATE SET stack = excluded.stack, chain_id = excluded.chain_id, used = excluded.used",
        params![key.as_str(), stack, chain, now],
    )
    .map(drop)
    .map_err(Error::database("record a build step"))
}

/// Lets every row go at the next sweep.
pub(crate) fn disown(db: &Transaction<'_>) -> Result<()> {
    db.execute("DELETE FROM build_cache_owners", []).map(drop).map_err(Error::database("clear the build cache"))
}
