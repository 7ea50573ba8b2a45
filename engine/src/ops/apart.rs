//! Work in a mount namespace of its own. A thread that makes one never comes back, so it is a thread of its own; nobody
//! else sees what is mounted there, and it goes with the thread.

use std::path::Path;

use nix::sched::CloneFlags;
use rustix::mount::{MountPropagationFlags, mount_change};

use crate::{Error, Result};

/// Does work where mounts are nobody else's. Detached mounts that come out of it live on. Blocks.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let inside = || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|errno| Error::io("make a mount namespace below", "/")(std::io::Error::from(errno)))?;
        // What the host unmounts goes here too; what is mounted here stays here.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(|errno| Error::io("change the propagation of", Path::new("/"))(errno.into()))?;
        work()
    };
    match std::thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The same in the mount namespace of another process, which `namespace` is.
pub(crate) fn inside<T: Send>(
    namespace: std::os::fd::OwnedFd,
    work: impl FnOnce() -> rustix::io::Result<T> + Send,
) -> Result<T> {
    let enter = move || -> rustix::io::Result<T> {
        let raw = |errno: nix::errno::Errno| rustix::io::Errno::from_raw_os_error(errno as i32);
        // A thread that shares its working directory with others cannot change its mount namespace.
        nix::sched::unshare(CloneFlags::CLONE_FS).map_err(raw)?;
        nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNS).map_err(raw)?;
        work()
    };
    match std::thread::scope(|scope| scope.spawn(enter).join()) {
        Ok(result) => result.map_err(|errno| Error::io("copy a mount of", "another namespace")(errno.into())),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
