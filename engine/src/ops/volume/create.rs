//! `volume create`: a directory, then its row.

use jiff::Timestamp;

use super::VolumeRecord;
use crate::bundle::random_id;
use crate::container::VolumeSpec;
use crate::events::Actor;
use crate::store::Flush;
use crate::store::volumes::{self, LOCAL, check_name, check_spec};
use crate::{Durability, Engine, Result};

/// A volume to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name; 64 random digits when `None`.
    pub name: Option<String>,
    /// Driver, options and labels.
    pub spec: VolumeSpec,
}

impl Engine {
    /// Makes a volume. One of that name that is there already stays as it is, as Docker has it.
    pub async fn create_volume(&self, volume: NewVolume) -> Result<VolumeRecord> {
        let NewVolume { name, spec } = volume;
        let anonymous = name.as_deref().is_none_or(str::is_empty);
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(random_id);
        check_spec(&name, &spec)?;
        check_name(&name)?;
        self.blocking(move |engine| {
            let record = VolumeRecord {
                name,
                created: Timestamp::now().to_string(),
                anonymous,
                driver: LOCAL.to_owned(),
                labels: spec.labels,
                options: spec.options,
            };
            let store = engine.store();
            let hold = store.hold_volume(&record.name)?;
            if engine.options().durability == Durability::Full {
                store.flush_volume(&hold)?;
            }
            let (new, record) =
                store.write(Flush::Now, |db| Ok((volumes::add(db, &record)?, volumes::find(db, &record.name)?)))?;
            if new {
                engine.tell("volume", "create", Actor::volume(&record.name, &record.driver));
            }
            Ok(record)
        })
        .await
    }
}
