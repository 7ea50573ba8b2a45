//! `volume rm`: the row, when no container mounts it, then the directory.

use crate::events::Actor;
use crate::store::volumes::{LOCAL, check_name, no_such};
use crate::store::{Flush, containers, volumes};
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Removes a volume and everything in it. One that a container mounts is refused.
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |engine| engine.remove_volume_now(&name)).await
    }

    /// [`Engine::remove_volume`] off the async threads.
    pub(crate) fn remove_volume_now(&self, name: &str) -> Result<()> {
        // What cannot be a name must not become a path.
        if check_name(name).is_err() {
            return Err(no_such(name));
        }
        let store = self.store();
        store.make_room();
        // Held until the directory is gone: a container that is made meanwhile waits, and makes a new volume.
        let hold = store.hold_old_volume(name)?;
        store.write(Flush::Now, |db| {
            let users = containers::users_of_volume(db, name)?;
            if !users.is_empty() {
                let message = format!("remove {name}: volume is in use - [{}]", users.join(", "));
                return Err(Error::refused(Kind::Conflict, message));
            }
            if volumes::delete(db, name)? { Ok(()) } else { Err(no_such(name)) }
        })?;
        let removed = store.remove_volume_directory(name);
        drop(hold);
        // Gone for everybody, whatever became of its files.
        self.tell("volume", "destroy", Actor::volume(name, LOCAL));
        removed
    }
}
