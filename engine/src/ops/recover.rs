//! Recovery of containers whose monitor died, and of what cut-off commands left.
//!
//! Nobody runs this on a schedule: whoever looks at a container settles it. A monitor that was killed, or a machine that
//! was restarted, shows as a container that was started, whose lock is free, and whose end nobody recorded.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::create::{RUN, VOLUMES};
use super::root::{has_ended, start_time};
use crate::container::{ContainerRecord, ContainerState};
use crate::runtime::{ExitRecord, RunState};
use crate::store::container_state::{EXIT, Observed, monitored, observe, read, write};
use crate::store::containers::{self, Directories, remove_directory};
use crate::store::{names_in, volumes};
use crate::{Engine, Kind, Result};

/// How long a killed process may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// The status of what was killed, as a shell sees it.
const KILLED: i32 = 137;

impl Engine {
    /// A container and its state, settled.
    pub(crate) async fn look_up(&self, container: &str) -> Result<(ContainerRecord, ContainerState)> {
        let container = container.to_owned();
        self.blocking(move |engine| {
            let record = engine.store().find_container(&container)?;
            let state = engine.state_of(&record)?;
            Ok((record, state))
        })
        .await
    }

    /// A container's state. One whose monitor died is settled first. Blocks.
    pub(crate) fn state_of(&self, record: &ContainerRecord) -> Result<ContainerState> {
        if let Observed::Settled(state) = observe(&self.store().directories(&record.id))? {
            return Ok(state);
        }
        match self.store().try_claim(&record.id)? {
            Some(_claim) => self.state_of_claimed(record),
            // Someone starts, recovers or removes it just now.
            None => Ok(ContainerState::Created { failure: None }),
        }
    }

    /// [`Engine::state_of`] for whoever has the claim.
    pub(crate) fn state_of_claimed(&self, record: &ContainerRecord) -> Result<ContainerState> {
        let directories = self.store().directories(&record.id);
        if let Observed::Settled(state) = observe(&directories)? {
            return Ok(state);
        }
        if let Some(code) = bury(record, &directories)? {
            // Nobody else does: the monitor would have.
            self.teller(record).tell("die", &[("exitCode", code.to_string())]);
            self.teller(record).tell_end();
        }
        self.release_networks(&directories.run);
        match observe(&directories)? {
            Observed::Settled(state) => Ok(state),
            Observed::Orphaned => Ok(ContainerState::Created { failure: None }),
        }
    }

    /// Removes a container that was to remove itself and has ended; true when it is gone. Blocks.
    pub(crate) fn clear_finished(&self, container: &str) -> Result<bool> {
        let record = match self.store().find_container(container) {
            Ok(record) => record,
            Err(error) if error.kind() == Kind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        if !self.is_finished(&record, &self.state_of(&record)?) {
            return Ok(false);
        }
        // Whoever makes or starts it has the claim, and so has the client of a `run` until its container runs.
        let Some(_claim) = self.store().try_claim(&record.id)? else { return Ok(false) };
        if !self.is_finished(&record, &self.state_of_claimed(&record)?) {
            return Ok(false);
        }
        self.remove_claimed(&record, true)?;
        Ok(true)
    }

    /// True for a container with `--rm` that ended, or that a `run` made and did not get to start.
    pub(crate) fn is_finished(&self, record: &ContainerRecord, state: &ContainerState) -> bool {
        record.spec.auto_remove
            && match state {
                ContainerState::Exited { .. } => true,
                ContainerState::Created { .. } => self.store().directories(&record.id).state.join(RUN).exists(),
                _ => false,
            }
    }

    /// Removes directories of containers that nobody has a row for and nobody makes just now. Blocks.
    pub(crate) fn sweep_containers(&self) -> Result<u64> {
        let mut swept = 0;
        for id in names_in(&self.store().root().join("containers"))? {
            let Some(_claim) = self.store().try_claim(&id)? else { continue };
            if self.is_known(&id)? {
                continue;
            }
            let directories = self.store().directories(&id);
            if monitored(&directories.run)? {
                continue;
            }
            for volume in &names_in(&directories.state.join(VOLUMES)).unwrap_or_default() {
                let anonymous = volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit());
                // One with a row is to stay: its container was removed without its volumes, by somebody who died.
                if anonymous && !self.store().read(|db| volumes::is_known(db, volume))? {
                    self.store().remove_volume_directory(volume)?;
                }
            }
            remove_directory(&directories.state)?;
            swept += 1;
        }
        for id in names_in(&self.store().run_root().join("containers"))? {
            let run = self.store().directories(&id).run;
            let Some(_held) = super::run_step::try_hold(&run)? else { continue };
            if !self.is_known(&id)? && !self.store().directories(&id).state.exists() && !monitored(&run)? {
                end_orphan(&run);
                clear_cgroup(&id);
                self.release_networks(&run);
                remove_directory(&run)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn is_known(&self, id: &str) -> Result<bool> {
        match self.store().read(|db| containers::find(db, id)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Ends what a dead monitor left running and records the end. Returns the status of a process that was left.
fn bury(record: &ContainerRecord, directories: &Directories) -> Result<Option<i32>> {
    let state = end_orphan(&directories.run);
    clear_cgroup(&record.id);
    for file in ["state.json", "attach.sock", "runtime.json", crate::runtime::NETWORK_LINK] {
        let _ = fs_err::remove_file(directories.run.join(file));
    }
    tracing::warn!(container = record.id, "the container's monitor died");
    let error = Some("the container's monitor died, or the machine was restarted".to_owned());
    let left = state.as_ref().is_some_and(|state| state.restarting.is_none());
    let exit = match state {
        // There was no process, so its end is known.
        Some(RunState { restarting: Some(ended), restarts, .. }) => ExitRecord { error, restarts, ..ended },
        state => ExitRecord {
            code: KILLED,
            oom_killed: false,
            error,
            restarts: state.as_ref().map_or(0, |state| state.restarts),
            started_at: state.map_or_else(|| record.created.clone(), |state| state.started_at),
            finished_at: Timestamp::now().to_string(),
        },
    };
    write(&directories.state.join(EXIT), &exit)?;
    Ok(left.then_some(exit.code))
}

/// Kills the first process of a container without a monitor. Its process ID counts only with its start time.
fn end_orphan(run: &Path) -> Option<RunState> {
    let state = read::<RunState>(&run.join("state.json")).ok().flatten()?;
    let lives = || start_time(state.pid) == Some(state.pid_start);
    if lives() {
        let _ = kill(Pid::from_raw(state.pid), Signal::SIGKILL);
        let begun = Instant::now();
        while lives() && !has_ended(state.pid) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Some(state)
}

/// Removes a container's control groups, wherever the hierarchies are mounted.
pub(crate) fn clear_cgroup(id: &str) {
    let top = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![top.to_owned()];
    hierarchies.extend(names_in(top).unwrap_or_default().iter().map(|name| top.join(name)));
    for hierarchy in hierarchies {
        let group: PathBuf = hierarchy.join("mica").join(id);
        if !group.is_dir() {
            continue;
        }
        for pid in fs_err::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Ok(pid @ 1..) = pid.parse::<i32>() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        // Processes take a moment to leave their group.
        let begun = Instant::now();
        while fs_err::remove_dir(&group).is_err() && group.exists() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
