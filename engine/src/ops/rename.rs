//! `rename`: another name for a container.

use crate::events::Actor;
use crate::store::{Flush, containers};
use crate::{Engine, Result};

impl Engine {
    /// Gives a container a new name.
    pub async fn rename(&self, container: &str, name: &str) -> Result<()> {
        let (container, name) = (container.to_owned(), name.trim_start_matches('/').to_owned());
        self.blocking(move |engine| {
            let mut record = engine.store().find_container(&container)?;
            engine.store().write(Flush::Now, |db| containers::rename(db, &record.id, &name))?;
            let old = std::mem::replace(&mut record.name, name);
            engine.tell("container", "rename", Actor::container(&record).with("oldName", format!("/{old}")));
            Ok(())
        })
        .await
    }
}
