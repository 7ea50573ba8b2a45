//! `rm`: the row first, durably; then the snapshot, the volumes made for it, and the directories.

use crate::container::ContainerRecord;
use crate::store::containers::{self, remove_directory};
use crate::store::{Flush, volumes};
use crate::{Engine, Error, Kind, Result};

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it when it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container by ID, prefix or name.
    pub async fn remove(&self, container: &str, options: RemoveOptions) -> Result<()> {
        let (record, state) = self.look_up(container).await?;
        if state.is_running() {
            if !options.force {
                return Err(Error::refused(
                    Kind::Conflict,
                    format!("cannot remove container `{}`: container is running", record.name),
                )
                .with_hint("stop the container before removing it, or remove it with force"));
            }
            self.kill_and_wait(&record).await?;
        }
        self.blocking(move |engine| {
            let claim = engine.store().claim(&record.id);
            let _claim = match claim {
                Ok(claim) => claim,
                // Its directory may be lost; its row is not, or the look-up would have said so.
                Err(error) if error.kind() == Kind::NotFound => return engine.remove_claimed(&record, options.volumes),
                Err(error) => return Err(error),
            };
            if engine.state_of_claimed(&record)?.is_running() {
                return Err(Error::refused(
                    Kind::Conflict,
                    format!("container `{}` was started meanwhile", record.name),
                ));
            }
            engine.remove_claimed(&record, options.volumes)
        })
        .await
    }

    /// Removes a container that does not run and that nobody can start meanwhile. What fails after the row is gone is
    /// garbage, which recovery clears, so every step is tried. Blocks.
    pub(crate) fn remove_claimed(&self, record: &ContainerRecord, with_volumes: bool) -> Result<()> {
        let gone: Vec<&str> = if with_volumes {
            record.volumes.iter().filter(|volume| volume.anonymous).map(|volume| volume.name.as_str()).collect()
        } else {
            Vec::new()
        };
        self.store().make_room();
        // A row that comes back after a power cut, of a container that was to go anyway, is cleared by whoever sees it.
        let flush = if record.spec.auto_remove { Flush::Later } else { Flush::Now };
        let known = self.store().write(flush, |db| {
            gone.iter().try_for_each(|volume| volumes::delete(db, volume))?;
            containers::delete(db, &record.id)
        })?;
        let directories = self.store().directories(&record.id);
        let mut results = vec![self.remove_rw(&record.driver, &record.id)];
        let volumes: Vec<Result<()>> = gone.iter().map(|volume| self.store().remove_volume_directory(volume)).collect();
        results.push(remove_directory(&directories.run));
        // It holds the list of the volumes, by which recovery finds one that could not be removed.
        if volumes.iter().all(Result::is_ok) {
            results.push(remove_directory(&directories.state));
        }
        results.extend(volumes);
        for error in results.into_iter().filter_map(Result::err) {
            tracing::warn!(container = record.id, %error, "left to recovery");
        }
        if known { Ok(()) } else { Err(Error::refused(Kind::NotFound, format!("no such container: `{}`", record.id))) }
    }
}
