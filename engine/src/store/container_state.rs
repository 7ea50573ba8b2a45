//! What a container is doing, computed from files: the monitor's lock and records. No row is read or written.

use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::containers::Directories;
use crate::container::ContainerState;
use crate::runtime::{ExitRecord, RunState};
use crate::{Error, Result};

/// The mark of a container that was started: its bundle.
pub(crate) const BUNDLE: &str = "config.json";
/// How it ended.
pub(crate) const EXIT: &str = "exit.json";
/// Why its last start failed.
pub(crate) const FAILURE: &str = "failure.json";

/// Why a start failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartFailure {
    /// The code `start` and `run` exit with.
    pub(crate) code: i32,
    /// The reason.
    pub(crate) message: String,
}

/// What the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observed {
    /// This.
    Settled(ContainerState),
    /// It was started, its monitor is gone, and nobody recorded an end: the monitor was killed or the machine restarted. Or
    /// a start is just under way, which whoever means to act finds out by claiming the container.
    Orphaned,
}

/// Looks at a container.
pub(crate) fn observe(directories: &Directories) -> Result<Observed> {
    // Twice, because a monitor may record the exit and go between the first look and the test of its lock.
    for _ in 0..2 {
        if let Some(exit) = read::<ExitRecord>(&directories.state.join(EXIT))? {
            let ExitRecord { code, oom_killed, error, started_at, finished_at } = exit;
            return Ok(Observed::Settled(ContainerState::Exited { code, started_at, finished_at, oom_killed, error }));
        }
        if monitored(&directories.run)? {
            let state = read::<RunState>(&directories.run.join("state.json"))?;
            return Ok(Observed::Settled(match state {
                Some(state) => ContainerState::Running { pid: state.pid, started_at: state.started_at },
                // The monitor is on its way up or down.
                None => ContainerState::Created { failure: None },
            }));
        }
    }
    if directories.state.join(BUNDLE).exists() {
        return Ok(Observed::Orphaned);
    }
    let failure = read::<StartFailure>(&directories.state.join(FAILURE))?;
    Ok(Observed::Settled(ContainerState::Created { failure: failure.map(|failure| (failure.code, failure.message)) }))
}

/// True while a monitor lives.
pub(crate) fn monitored(run: &Path) -> Result<bool> {
    let path = run.join("lock");
    let lock = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(lock) => lock,
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(Error::io("open", path)(errno.into())),
    };
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(Error::io("lock", path)(errno.into())),
    }
}

/// Reads a record; a missing one is `None`, and so is one that a power cut emptied or tore.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::OpenOptions::new().read(true).open(path).and_then(std::io::read_to_string) {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Writes a record, whole or not at all.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|error| Error::refused(crate::Kind::Internal, error.to_string()))?;
    let temporary = path.with_extension("new");
    fs_err::write(&temporary, text).map_err(Error::io("write", &temporary))?;
    fs_err::rename(&temporary, path).map_err(Error::io("rename", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXITED: &str = r#"{"code":3,"oom_killed":false,"error":null,"started_at":"a","finished_at":"b"}"#;
    const RUNNING: &str = r#"{"monitor_pid":7,"pid":8,"pid_start":9,"started_at":"a"}"#;

    #[test]
    fn files_say_what_a_container_does() {
        // bundle, lock file, lock held, state.json, exit.json, failure.json → word or orphaned
        let table = [
            ([false, false, false, false, false, false], "created"),
            ([false, false, false, false, false, true], "failed"),
            ([true, true, true, false, false, false], "created"),
            ([true, true, true, true, false, false], "running"),
            ([true, true, true, true, true, false], "exited"),
            ([true, true, false, false, true, false], "exited"),
            ([true, true, false, true, false, false], "orphaned"),
            ([true, false, false, false, false, false], "orphaned"),
        ];
        for (facts, wanted) in table {
            let dir = tempfile::tempdir().unwrap();
            let directories = Directories { state: dir.path().join("state"), run: dir.path().join("run") };
            fs_err::create_dir(&directories.state).unwrap();
            fs_err::create_dir(&directories.run).unwrap();
            let [bundle, lock, held, state, exit, failure] = facts;
            let put = |there: bool, path: std::path::PathBuf, text: &str| {
                if there {
                    fs_err::write(path, text).unwrap();
                }
            };
            put(bundle, directories.state.join(BUNDLE), "{}");
            put(lock, directories.run.join("lock"), "");
            put(state, directories.run.join("state.json"), RUNNING);
            put(exit, directories.state.join(EXIT), EXITED);
            put(failure, directories.state.join(FAILURE), r#"{"code":127,"message":"not found"}"#);
            let holder = lock.then(|| fs_err::File::open(directories.run.join("lock")).unwrap());
            if let (true, Some(file)) = (held, &holder) {
                rustix::fs::flock(file.file(), FlockOperation::LockExclusive).unwrap();
            }
            let found = match observe(&directories).unwrap() {
                Observed::Settled(ContainerState::Created { failure: Some((127, _)) }) => "failed",
                Observed::Settled(state) => state.word(),
                Observed::Orphaned => "orphaned",
            };
            assert_eq!(found, wanted, "{facts:?}");
        }
    }

    #[test]
    fn torn_records_count_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        for text in ["", "{\"code\":", "\0\0\0"] {
            fs_err::write(&path, text).unwrap();
            assert_eq!(read::<ExitRecord>(&path).unwrap(), None);
        }
        let record: ExitRecord = serde_json::from_str(EXITED).unwrap();
        write(&path, &record).unwrap();
        assert_eq!(read::<ExitRecord>(&path).unwrap(), Some(record));
    }
}
