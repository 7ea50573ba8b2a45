//! Volumes as things of their own: `volume create`, `ls`, `inspect`, `rm` and `prune`.

mod create;
mod list;
mod prune;
mod remove;

use std::path::PathBuf;

pub use create::NewVolume;
pub use list::VolumeFilters;

use crate::store::volumes;
pub use crate::store::volumes::VolumeRecord;
use crate::{Engine, Result};

impl Engine {
    /// A volume by its name.
    pub async fn volume(&self, name: &str) -> Result<VolumeRecord> {
        let name = name.to_owned();
        self.blocking(move |engine| engine.store().read(|db| volumes::find(db, &name))).await
    }

    /// Where a volume's files are on this machine.
    pub fn volume_path(&self, name: &str) -> PathBuf {
        self.store().volume_data(name)
    }
}
