//! Containers that share namespaces of others: who is meant at `create`, and whose they are at `start`.

use crate::bundle::namespaces::Donors;
use crate::container::{ContainerRecord, ContainerSpec, IpcMode, PidMode};
use crate::runtime::{Lender, RunState};
use crate::store::container_state::read;
use crate::{Engine, Error, Kind, Result};

/// What a container takes from others that run.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) donors: Donors,
    /// Who must still be there when the namespaces have been joined.
    pub(crate) lenders: Vec<Lender>,
    /// The process whose `/dev/shm` is shared.
    pub(crate) shm_of: Option<i32>,
}

impl Engine {
    /// Replaces names of containers by their IDs, so that renaming one changes nothing. Blocks.
    pub(crate) fn name_donors(&self, spec: &mut ContainerSpec) -> Result<()> {
        if let IpcMode::Container(donor) = &mut spec.namespaces.ipc {
            *donor = self.store().find_container(donor)?.id;
        }
        if let PidMode::Container(donor) = &mut spec.namespaces.pid {
            *donor = self.store().find_container(donor)?.id;
        }
        Ok(())
    }

    /// Finds the processes whose namespaces a container joins. Blocks.
    pub(crate) fn join(&self, record: &ContainerRecord) -> Result<Joined> {
        let mut joined = Joined::default();
        if let IpcMode::Container(donor) = &record.spec.namespaces.ipc {
            let (donor, lender) = self.lender(donor, "IPC")?;
            match donor.spec.namespaces.ipc {
                // A donor on the host's namespace or on another container's has somebody else's `/dev/shm`, which is there too.
                IpcMode::Shareable | IpcMode::Host | IpcMode::Container(_) => {}
                IpcMode::Private | IpcMode::None => {
                    return Err(Error::refused(
                        Kind::InvalidInput,
                        format!("cannot join IPC of container `{}`: non-shareable IPC", donor.id),
                    )
                    .with_hint("create the other container with `--ipc shareable`"));
                }
            }
            joined.donors.ipc = Some(lender.pid);
            joined.shm_of = Some(lender.pid);
            joined.lenders.push(lender);
        }
        if let PidMode::Container(donor) = &record.spec.namespaces.pid {
            let (_, lender) = self.lender(donor, "PID")?;
            joined.donors.pid = Some(lender.pid);
            joined.lenders.push(lender);
        }
        Ok(joined)
    }

    fn lender(&self, donor: &str, what: &str) -> Result<(ContainerRecord, Lender)> {
        let donor = self.store().find_container(donor)?;
        let running = self.state_of(&donor)?.is_running();
        match read::<RunState>(&self.store().directories(&donor.id).run.join("state.json"))? {
            Some(state) if running => Ok((donor, Lender { pid: state.pid, pid_start: state.pid_start })),
            _ => Err(Error::refused(
                Kind::Conflict,
                format!("cannot join {what} of a non running container: `{}`", donor.id),
            )),
        }
    }
}
