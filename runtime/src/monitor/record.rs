//! The small files a monitor keeps: the lock, the state while it runs, the exit record. Whole or absent, never half.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use mica_engine::Kind;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, OrFail};

/// Takes the lock that says "this container has a monitor".
pub fn lock(run_dir: &Path) -> Result<OwnedFd, Failure> {
    let path = run_dir.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .or_fail(|| format!("cannot open `{}`", path.display()))?;
    // Whoever asks whether a container runs, or waits for its end, holds the lock for an instant; only a monitor keeps it.
    for _ in 0..100 {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(Failure::caused(format!("cannot lock `{}`", path.display()), &error)),
        }
    }
    Err(Failure::new(Kind::Conflict, format!("the container in `{}` is already running", run_dir.display())))
}

/// Writes a record under a temporary name and renames it, so that a reader never sees a part. There is no fsync: the state
/// dies with the boot, and an exit record lost with the power tells nothing that the reboot does not.
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let context = || format!("cannot write `{}`", path.display());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let bytes = serde_json::to_vec(value).or_fail(context)?;
    fs_err::write(Path::new(&name), bytes).or_fail(context)?;
    fs_err::rename(Path::new(&name), path).or_fail(context)
}

/// Reads a record back.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let context = || format!("cannot read `{}`", path.display());
    serde_json::from_slice(&fs_err::read(path).or_fail(context)?).or_fail(context)
}

/// The time as the records write it.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}
