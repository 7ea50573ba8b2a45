//! Entering the namespaces of a user, which are made when nobody has made them.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nix::sched::{CloneFlags, setns};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::create::create;
use crate::error::{Error, Result};
use crate::wire::{self, LOCK, Namespaces};

/// What this process has of the namespaces it is in.
#[derive(Debug)]
pub struct Joined {
    /// The connection to the holder: whoever has it open keeps the namespaces.
    pub keeper: UnixStream,
    /// The network namespace in which the user's networks are. This process is not in it.
    pub network: Arc<OwnedFd>,
    /// Answers on the connection are told apart by their order only, and several containers may start at once.
    alone: Mutex<()>,
}

/// Makes this process root of its user's namespaces. It must have one thread only (setns(2)). `holder` is the program that
/// makes and holds them.
pub fn enter(run_root: &Path, holder: &Path) -> Result<Joined> {
    own_directory(run_root)?;
    let place = std::env::current_dir().ok();
    let (keeper, namespaces) = reach(run_root, holder)?;
    let refused = |errno: nix::Error| Error::Refused { source: errno.into() };
    setns(namespaces.user.as_fd(), CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    setns(namespaces.mount.as_fd(), CloneFlags::CLONE_NEWNS).map_err(refused)?;
    // Entering a mount namespace means standing in its root.
    if let Some(place) = place {
        std::env::set_current_dir(&place).map_err(Error::file("return to", &place))?;
    }
    Ok(Joined { keeper, network: Arc::new(namespaces.network), alone: Mutex::default() })
}

/// For a process that is in the namespaces already: the connection and the network. `None` when nobody holds any for this run
/// root, as in somebody else's user namespace.
pub fn visit(run_root: &Path) -> Result<Option<Joined>> {
    let Ok(keeper) = wire::connect(run_root) else { return Ok(None) };
    let namespaces = wire::take(&keeper).map_err(Error::file("receive the namespaces of", run_root))?;
    Ok(namespaces.map(|Namespaces { network, .. }| Joined {
        keeper,
        network: Arc::new(network),
        alone: Mutex::default(),
    }))
}

impl Joined {
    /// Starts a program among the control groups that the holder has: only who is there already may move others to groups there
    /// (cgroups(7), delegation containment).
    pub fn start(
        &self,
        program: BorrowedFd<'_>,
        input: BorrowedFd<'_>,
        environment: &[(OsString, OsString)],
    ) -> io::Result<()> {
        let _alone = self.alone.lock();
        wire::ask_start(&self.keeper, program, input, environment)
    }

    /// Sees to it that the network namespace has a way out.
    pub fn way_out(&self) -> Result<()> {
        let _alone = self.alone.lock();
        let answer = wire::ask_way_out(&self.keeper).map_err(Error::file("ask", "mica-holder"))?;
        answer.map_or(Ok(()), |message| Err(Error::Holder { message }))
    }
}

/// A connection to the holder, and what it holds.
fn reach(run_root: &Path, holder: &Path) -> Result<(UnixStream, Namespaces)> {
    if let Some(found) = knock(run_root)? {
        return Ok(found);
    }
    let path = run_root.join(LOCK);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| Error::file("open", &path)(errno.into()))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))
        .map_err(|errno| Error::file("lock", &path)(errno.into()))?;
    if let Some(found) = knock(run_root)? {
        return Ok(found);
    }
    create(run_root, holder)?;
    knock(run_root)?.ok_or_else(|| Error::Holder { message: "the holder of the namespaces ended at once".into() })
}

/// `None` when nobody is there, or somebody who is about to leave.
fn knock(run_root: &Path) -> Result<Option<(UnixStream, Namespaces)>> {
    let Ok(socket) = wire::connect(run_root) else { return Ok(None) };
    let namespaces = wire::take(&socket).map_err(Error::file("receive the namespaces of", run_root))?;
    Ok(namespaces.map(|namespaces| (socket, namespaces)))
}

/// The run root, closed to everybody else: whoever could put a socket there could hand out namespaces of their own.
fn own_directory(run_root: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(run_root);
    made.map_err(Error::file("create directory", run_root))?;
    let found = fs_err::symlink_metadata(run_root).map_err(Error::file("look at", run_root))?;
    let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if ours {
        return Ok(());
    }
    let message = format!("`{}` must be a directory of yours that nobody else can write to", run_root.display());
    Err(Error::Holder { message })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_run_root_is_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        own_directory(&deep).unwrap();
        assert_eq!(fs_err::metadata(&deep).unwrap().mode() & 0o777, 0o700);
        fs_err::set_permissions(&deep, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own_directory(&deep).unwrap_err().to_string().contains("nobody else can write to"));
        std::os::unix::fs::symlink(&deep, folder.path().join("link")).unwrap();
        assert!(own_directory(&folder.path().join("link")).is_err());
        assert!(visit(&deep).unwrap().is_none());
    }
}
