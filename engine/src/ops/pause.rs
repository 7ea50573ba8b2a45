//! `pause` and `unpause`: every process of a container stands still, and goes on.

use crate::cgroup::{Groups, Motion};
use crate::container::{ContainerRecord, ContainerState};
use crate::store::container_state::PAUSED;
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Freezes a running container.
    pub async fn pause(&self, container: &str) -> Result<()> {
        let (record, state) = self.look_up(container).await?;
        let pid = match state {
            ContainerState::Running { pid, .. } => pid,
            ContainerState::Paused { .. } => {
                return Err(Error::refused(Kind::Conflict, format!("container `{}` is already paused", record.id)));
            }
            ContainerState::Restarting { .. } => {
                return Err(Error::refused(Kind::Conflict, format!("container `{}` is restarting", record.id)));
            }
            _ => return Err(super::kill::not_running(&record.id)),
        };
        self.blocking(move |engine| {
            let mark = engine.store().directories(&record.id).run.join(PAUSED);
            // The mark first: a container that stands still without it would be one that nobody knows how to wake.
            fs_err::write(&mark, "").map_err(Error::io("write", &mark))?;
            if let Err(error) = Groups::of(&record.id, pid).set(Motion::Frozen) {
                let _ = fs_err::remove_file(&mark);
                return Err(error);
            }
            engine.tell_of(&record, "pause");
            Ok(())
        })
        .await
    }

    /// Lets a paused container go on.
    pub async fn unpause(&self, container: &str) -> Result<()> {
        let (record, state) = self.look_up(container).await?;
        if !matches!(state, ContainerState::Paused { .. }) {
            return Err(Error::refused(Kind::Conflict, format!("container `{}` is not paused", record.id)));
        }
        self.blocking(move |engine| {
            engine.thaw(&record)?;
            engine.tell_of(&record, "unpause");
            Ok(())
        })
        .await
    }

    /// Lets a container go on if it is paused, so that a signal can reach it. Blocks.
    pub(super) fn thaw(&self, record: &ContainerRecord) -> Result<()> {
        let ContainerState::Paused { pid, .. } = self.state_of(record)? else { return Ok(()) };
        match Groups::of(&record.id, pid).set(Motion::Thawed) {
            // With version 2 a signal ends what stands still, and its group may go with it at any moment.
            Err(_) if super::root::has_ended(pid) => {}
            thawed => thawed?,
        }
        let mark = self.store().directories(&record.id).run.join(PAUSED);
        match fs_err::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", mark)(error)),
            _ => Ok(()),
        }
    }
}
