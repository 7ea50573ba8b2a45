//! `update`: other limits or another restart policy, for a container that runs and for its next start.

use super::prepare::write_configuration;
use crate::bundle::block_io::block_io;
use crate::bundle::resources::resources;
use crate::bundle::support;
use crate::cgroup::Groups;
use crate::container::{ContainerRecord, ContainerState, Resources, RestartPolicy};
use crate::runtime::RESTART;
use crate::store::container_state::{BUNDLE, write};
use crate::store::{Flush, containers};
use crate::{Engine, Error, Kind, Result};

/// What is to change. What is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateRequest {
    /// Limits.
    pub resources: Resources,
    /// The restart policy.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes a container and returns what the kernel cannot do of it. Of one that runs, the control groups change first:
    /// what the kernel refuses is not recorded.
    pub async fn update(&self, container: &str, mut request: UpdateRequest) -> Result<Vec<String>> {
        let container = container.to_owned();
        self.blocking(move |engine| {
            let warnings = support::fit(&mut request.resources, &support::Facts::read(engine.options().rootless))?;
            let (_claim, mut record) = engine.store().claim_container(&container)?;
            if record.spec.auto_remove && request.restart.is_some_and(|policy| policy != RestartPolicy::No) {
                let message = "restart policy cannot be updated because `--rm` is set for the container";
                return Err(Error::refused(Kind::Conflict, message));
            }
            check_swap(&record.spec.resources, &request.resources)?;
            let whole = laid_over(&record.spec.resources, &request.resources);
            // Refuses what no container could start with.
            resources(&whole, Vec::new())?;
            block_io(&whole.block_io)?;
            let state = engine.state_of_claimed(&record)?;
            if request.resources != Resources::default() {
                if let Some(pid) = state.pid() {
                    Groups::of(&record.id, pid).limit(&request.resources, &whole)?;
                }
                engine.limit_next(&record, &whole)?;
            }
            record.spec.resources = whole;
            if let Some(policy) = request.restart {
                record.spec.restart = policy;
                engine.announce_policy(&record, &state)?;
            }
            engine.store().write(Flush::Now, |db| containers::replace(db, &record))?;
            engine.tell_of(&record, "update");
            Ok(warnings)
        })
        .await
    }

    /// The monitor makes the container's next process from the bundle.
    fn limit_next(&self, record: &ContainerRecord, whole: &Resources) -> Result<()> {
        let directory = self.store().directories(&record.id).state;
        let path = directory.join(BUNDLE);
        if !path.exists() {
            return Ok(());
        }
        let wrong =
            |error: oci_spec::OciSpecError| Error::refused(Kind::Corrupt, format!("`{}`: {error}", path.display()));
        let mut spec = oci_spec::runtime::Spec::load(&path).map_err(wrong)?;
        if let Some(linux) = spec.linux_mut() {
            let devices = linux.resources().as_ref().and_then(|limits| limits.devices().clone()).unwrap_or_default();
            let mut limits = resources(whole, devices)?;
            limits.set_block_io(block_io(&whole.block_io)?);
            linux.set_resources(Some(limits));
        }
        write_configuration(&directory, &spec)
    }

    /// A monitor has the policy that its container was started with.
    fn announce_policy(&self, record: &ContainerRecord, state: &ContainerState) -> Result<()> {
        if state.is_running() {
            write(&self.store().directories(&record.id).state.join(RESTART), &record.spec.restart)?;
        }
        Ok(())
    }
}

/// Refuses memory that outgrows an old limit of memory and swap, with the remedy that Docker names.
fn check_swap(base: &Resources, over: &Resources) -> Result<()> {
    let both = base.memory_swap.filter(|both| *both > 0 && over.memory_swap.is_none());
    if both.zip(over.memory).is_some_and(|(both, memory)| memory > both) {
        let message =
            "memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
        return Err(Error::refused(Kind::InvalidInput, message));
    }
    Ok(())
}

/// Limits with other limits over them.
fn laid_over(base: &Resources, over: &Resources) -> Resources {
    let mut whole = base.clone();
    let over = over.clone();
    whole.memory = over.memory.or(whole.memory);
    whole.memory_swap = over.memory_swap.or(whole.memory_swap);
    whole.memory_reservation = over.memory_reservation.or(whole.memory_reservation);
    whole.milli_cpus = over.milli_cpus.or(whole.milli_cpus);
    whole.cpu_period = over.cpu_period.or(whole.cpu_period);
    whole.cpu_quota = over.cpu_quota.or(whole.cpu_quota);
    whole.cpu_shares = over.cpu_shares.or(whole.cpu_shares);
    whole.cpuset_cpus = over.cpuset_cpus.or(whole.cpuset_cpus);
    whole.cpuset_mems = over.cpuset_mems.or(whole.cpuset_mems);
    whole.pids = over.pids.or(whole.pids);
    whole.memory_swappiness = over.memory_swappiness.or(whole.memory_swappiness);
    whole.cpu_rt_period = over.cpu_rt_period.or(whole.cpu_rt_period);
    whole.cpu_rt_runtime = over.cpu_rt_runtime.or(whole.cpu_rt_runtime);
    whole.block_io = base.block_io.with(over.block_io);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{BlockIo, parse_operations_rate};

    #[test]
    fn what_is_not_stated_stays() {
        let rates = |texts: &[&str]| texts.iter().map(|text| parse_operations_rate(text).unwrap()).collect();
        let io = BlockIo { weight: Some(10), read_iops: rates(&["/dev/a:1", "/dev/b:2"]), ..BlockIo::default() };
        let base = Resources { memory: Some(1), pids: Some(2), block_io: io, ..Resources::default() };
        let io = BlockIo { read_iops: rates(&["/dev/b:7", "/dev/c:8"]), ..BlockIo::default() };
        let over = Resources { pids: Some(3), cpuset_cpus: Some("0".into()), block_io: io, ..Resources::default() };
        let whole = laid_over(&base, &over);
        assert_eq!(whole.block_io.read_iops, rates(&["/dev/a:1", "/dev/b:7", "/dev/c:8"]));
        assert_eq!(whole.block_io.weight, Some(10));
        assert_eq!((whole.memory, whole.pids, whole.cpuset_cpus.as_deref()), (Some(1), Some(3), Some("0")));
    }
}
