//! `rm`: the row first, durably; then the snapshot, the volumes made for it, and the directories.

use crate::container::{ContainerRecord, VolumeMount};
use crate::events::{Actor, Event};
use crate::store::containers::{self, remove_directory};
use crate::store::volumes::LOCAL;
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
                    format!("cannot remove container `{}`: container is {}", record.name, state.word()),
                )
                .with_hint("stop the container before removing it, or remove it with force"));
            }
            self.kill_and_wait(&record).await?;
        }
        self.blocking(move |engine| {
            let (_claim, record) = match engine.store().claim_container(&record.id) {
                Ok(claimed) => claimed,
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
        let own = |volume: &&VolumeMount| with_volumes && volume.anonymous;
        let candidates: Vec<&str> = record.volumes.iter().filter(own).map(|volume| volume.name.as_str()).collect();
        let holds: Vec<_> = candidates.iter().map(|name| self.store().hold_old_volume(name)).collect();
        self.store().make_room();
        // A row that comes back after a power cut, of a container that was to go anyway, is cleared by whoever sees it.
        let flush = if record.spec.auto_remove { Flush::Later } else { Flush::Now };
        let (known, gone) = self.store().write(flush, |db| {
            let known = containers::delete(db, &record.id)?;
            let mut gone = Vec::new();
            for volume in candidates {
                // Another container may have it too, by `--volumes-from`.
                if containers::users_of_volume(db, volume)?.is_empty() {
                    volumes::delete(db, volume)?;
                    gone.push(volume);
                }
            }
            Ok((known, gone))
        })?;
        let directories = self.store().directories(&record.id);
        let mut results = vec![self.unmount_root(&record.id).map(drop), self.remove_rw(&record.driver, &record.id)];
        let volumes: Vec<Result<()>> = gone.iter().map(|volume| self.store().remove_volume_directory(volume)).collect();
        drop(holds);
        // A monitor that was killed while it made the container leaves nothing else of it.
        super::recover::clear_cgroup(&record.id);
        self.release_networks(&directories.run);
        results.push(remove_directory(&directories.run));
        // It holds the names of the volumes, by which recovery finds one that could not be removed.
        if volumes.iter().all(Result::is_ok) {
            results.push(remove_directory(&directories.state));
        }
        results.extend(volumes);
        for error in results.into_iter().filter_map(Result::err) {
            tracing::warn!(container = record.id, %error, "left to recovery");
        }
        if known {
            let volumes = gone.iter().map(|volume| Event::now("volume", "destroy", Actor::volume(volume, LOCAL)));
            let container = Event::now("container", "destroy", Actor::container(record));
            self.tell_all(&volumes.chain([container]).collect::<Vec<_>>());
        }
        if known { Ok(()) } else { Err(Error::refused(Kind::NotFound, format!("no such container: `{}`", record.id))) }
    }
}
