//! The monitor's mount namespace: the root file system is attached here and nowhere else, so nothing of it can leak into
//! the host or be busy there, and all of it goes when the monitor leaves.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change};

use crate::failure::{Failure, OrFail};

/// The way back to the namespace the monitor came from.
#[derive(Debug)]
pub struct Outside {
    namespace: OwnedFd,
    root: OwnedFd,
    rootfs: PathBuf,
}

/// Enters a new mount namespace and attaches the root file system at `<run_dir>/rootfs`.
pub fn enter(run_dir: &Path, root: impl AsFd) -> Result<Outside, Failure> {
    let rootfs = run_dir.join("rootfs");
    let open = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).or_fail(|| format!("cannot open `{path}`"))
    };
    let namespace = open("/proc/self/ns/mnt", OFlags::RDONLY)?;
    let outside = Outside { namespace, root: open("/", OFlags::PATH | OFlags::DIRECTORY)?, rootfs };
    match fs_err::create_dir(&outside.rootfs) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::caused("cannot make the mount point", &error));
        }
        _ => {}
    }
    unshare(CloneFlags::CLONE_NEWNS).or_fail(|| "cannot make a mount namespace".into())?;
    // Slave, not private: what the host unmounts later must not stay busy here for the container's whole life.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .or_fail(|| "cannot separate the mount namespace from the host's".into())?;
    rustix::mount::move_mount(root.as_fd(), "", CWD, &outside.rootfs, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .or_fail(|| format!("cannot mount the root file system at `{}`", outside.rootfs.display()))?;
    Ok(outside)
}

impl Outside {
    /// Returns to the namespace the monitor came from. The other one has no process left then, and its mounts with it.
    pub fn leave(self) -> Result<(), Failure> {
        setns(&self.namespace, CloneFlags::CLONE_NEWNS).or_fail(|| "cannot leave the mount namespace".into())?;
        // Entering a mount namespace means entering its root, which need not be the root the caller lived in.
        rustix::process::fchdir(&self.root).or_fail(|| "cannot return to the root directory".into())?;
        rustix::process::chroot(".").or_fail(|| "cannot return to the root directory".into())?;
        fs_err::remove_dir(&self.rootfs).or_fail(|| "cannot remove the mount point".into())
    }
}
