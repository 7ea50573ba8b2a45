//! What a container is doing, computed from files: the monitor's lock and records. No row is read or written.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Store;
use super::containers::Directories;
use crate::container::ContainerState;
use crate::runtime::{ExitRecord, RunState};
use crate::{Error, Result};

/// The mark of a container that was started: its bundle.
pub(crate) const BUNDLE: &str = "config.json";
/// The mark, in the run directory, of a container that stands still.
pub(crate) const PAUSED: &str = "paused";
/// How it ended.
pub(crate) const EXIT: &str = "exit.json";
/// Why its last start failed.
pub(crate) const FAILURE: &str = "failure.json";

/// Longer than any record.
const RECORD_MAX: u64 = 1 << 20;

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
    // Most containers of a long listing never ran, so what costs least comes first.
    if !directories.state.join(BUNDLE).exists() {
        return not_started(directories);
    }
    // Twice, because a monitor may record the exit and go between the first look and the test of its lock.
    for _ in 0..2 {
        if let Some(exit) = read::<ExitRecord>(&directories.state.join(EXIT))? {
            return Ok(Observed::Settled(ended(exit)));
        }
        if monitored(&directories.run)? {
            let state = read::<RunState>(&directories.run.join("state.json"))?;
            return Ok(Observed::Settled(match state {
                Some(RunState { restarting: Some(ended), .. }) => ContainerState::Restarting {
                    code: ended.code,
                    started_at: ended.started_at,
                    finished_at: ended.finished_at,
                },
                Some(state) if directories.run.join(PAUSED).exists() => {
                    ContainerState::Paused { pid: state.pid, started_at: state.started_at }
                }
                Some(state) => ContainerState::Running { pid: state.pid, started_at: state.started_at },
                // The monitor is on its way up or down.
                None => ContainerState::Created { failure: None },
            }));
        }
    }
    // The undo of a start that failed takes the bundle away.
    if directories.state.join(BUNDLE).exists() { Ok(Observed::Orphaned) } else { not_started(directories) }
}

/// Where containers' directories are, opened once for a listing, which looks into a thousand of them.
#[derive(Debug)]
pub(crate) struct Shelf(OwnedFd);

impl Shelf {
    /// Opens the directory of a store's containers.
    pub(crate) fn open(store: &Store) -> Result<Shelf> {
        let path = store.root().join("containers");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        opened.map(Shelf).map_err(|errno| Error::io("open", path)(errno.into()))
    }

    /// What a container does, as far as its own directory says so: of one that did not run, that, and how one ended. Nothing
    /// where there is more to look at. Why a start failed is not looked for, because no listing says it.
    pub(crate) fn at_rest(&self, id: &str) -> Result<Option<ContainerState>> {
        // Most containers of a long listing never ran, so what costs least comes first.
        let bundle = format!("{id}/{BUNDLE}");
        match rustix::fs::accessat(&self.0, &bundle, Access::EXISTS, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Some(ContainerState::Created { failure: None })),
            Err(_) => return Ok(None),
        }
        Ok(self.read::<ExitRecord>(id, EXIT)?.map(ended))
    }

    /// Reads a record in a container's directory, as [`read`] does.
    pub(crate) fn read<T: DeserializeOwned>(&self, id: &str, name: &str) -> Result<Option<T>> {
        let path = format!("{id}/{name}");
        let opened = rustix::fs::openat(&self.0, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        parsed(opened.map(File::from).map_err(Into::into), Path::new(&path))
    }
}

fn ended(exit: ExitRecord) -> ContainerState {
    let ExitRecord { code, oom_killed, error, started_at, finished_at, restarts: _ } = exit;
    ContainerState::Exited { code, started_at, finished_at, oom_killed, error }
}

fn not_started(directories: &Directories) -> Result<Observed> {
    let failure = read::<StartFailure>(&directories.state.join(FAILURE))?;
    Ok(Observed::Settled(ContainerState::Created { failure: failure.map(|failure| (failure.code, failure.message)) }))
}

/// How many times a container was started again since somebody last started it.
pub(crate) fn restarts(directories: &Directories) -> Result<u32> {
    if let Some(exit) = read::<ExitRecord>(&directories.state.join(EXIT))? {
        return Ok(exit.restarts);
    }
    Ok(read::<RunState>(&directories.run.join("state.json"))?.map_or(0, |state| state.restarts))
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
    parsed(File::options().read(true).open(path), path)
}

fn parsed<T: DeserializeOwned>(opened: std::io::Result<File>, path: &Path) -> Result<Option<T>> {
    // Listings read a thousand of these: nearly all fit, and a regular file that did not fill the buffer has ended, so the
    // calls that ask for its size and for its end are saved, and so is a copy.
    let mut first = [0; 1 << 10];
    let record = opened.and_then(|mut file| {
        let bytes = file.read(&mut first)?;
        if bytes < first.len() {
            return Ok(serde_json::from_slice(&first[..bytes]).ok());
        }
        let mut text = first.to_vec();
        file.take(RECORD_MAX).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text).ok())
    });
    match record {
        Ok(record) => Ok(record),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
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
    const RESTARTING: &str = r#"{"monitor_pid":7,"pid":0,"pid_start":0,"started_at":"a","restarts":2,
        "restarting":{"code":3,"oom_killed":false,"error":null,"started_at":"a","finished_at":"b","restarts":1}}"#;
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
            // What a listing takes from the container's own directory is the same, or nothing.
            let shelf = Shelf(rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap());
            let at_rest = shelf.at_rest("state").unwrap().map(|state| state.word());
            let expected = match (bundle, exit) {
                (false, _) => Some("created"),
                (true, true) => Some("exited"),
                (true, false) => None,
            };
            assert_eq!(at_rest, expected, "{facts:?}");
            assert_eq!(shelf.at_rest("missing").unwrap().map(|state| state.word()), Some("created"));
        }
    }

    #[test]
    fn between_two_processes_a_container_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories { state: dir.path().join("state"), run: dir.path().join("run") };
        fs_err::create_dir(&directories.state).unwrap();
        fs_err::create_dir(&directories.run).unwrap();
        fs_err::write(directories.state.join(BUNDLE), "{}").unwrap();
        fs_err::write(directories.run.join("state.json"), RESTARTING).unwrap();
        let lock = fs_err::File::create(directories.run.join("lock")).unwrap();
        rustix::fs::flock(lock.file(), FlockOperation::LockExclusive).unwrap();
        let Observed::Settled(state) = observe(&directories).unwrap() else { panic!("orphaned") };
        assert_eq!((state.word(), state.exit_code(), state.pid(), state.is_running()), ("restarting", 3, None, true));
        assert_eq!(restarts(&directories).unwrap(), 2);
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
        assert_eq!(read::<ExitRecord>(&path).unwrap(), Some(record.clone()));
        for length in [900, 1000, 5000] {
            let long = ExitRecord { error: Some("x".repeat(length)), ..record.clone() };
            write(&path, &long).unwrap();
            assert_eq!(read::<ExitRecord>(&path).unwrap(), Some(long), "{length}");
        }
    }
}
