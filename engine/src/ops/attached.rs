//! A stopped container's root with its volumes, binds and images in place, for as long as one piece of work takes.
//!
//! A tree of mounts exists only inside a mount namespace, so the work is done in one of its own: nobody else sees the
//! mounts, and they go with it.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use mica_layer::beneath::{self, NewDir};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags};

use super::apart::apart;
use crate::container::{ContainerRecord, MountPoint, PointSource};
use crate::{Engine, Error, Result};

impl Engine {
    /// Does work on a stopped container's root as the container would see it. Blocks.
    pub(crate) fn with_attached<T: Send>(
        &self,
        record: &ContainerRecord,
        root: BorrowedFd<'_>,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let points = record.mount_points();
        if points.is_empty() {
            return work(root);
        }
        // Any directory does: what it hides is hidden from that thread alone.
        let place = self.store().run_root();
        let mut trees = Vec::new();
        for point in points {
            // One whose source is gone shows nothing; a start would make or refuse it.
            if !matches!(&point.source, PointSource::Bind(path, _) if !path.exists()) {
                let tree = self.tree_of(&point, &record.driver)?;
                trees.push((point, tree));
            }
        }
        apart(|| {
            let top = attach(root, place, &trees)?;
            work(top.as_fd())
        })
    }
}

/// Puts everything together in this thread's namespace.
fn attach(root: BorrowedFd<'_>, place: &Path, trees: &[(MountPoint, OwnedFd)]) -> Result<OwnedFd> {
    let fail = |verb: &'static str, path: &Path| {
        let path = path.to_owned();
        move |errno: rustix::io::Errno| Error::io(verb, path)(errno.into())
    };
    let from_fd = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    // A copy of a mount is a peer of it: what is mounted on the one appears on the other, so on the host wherever that shares
    // its mounts, as systemd has it.
    let alone = |mount: BorrowedFd<'_>| {
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
    };
    rustix::mount::move_mount(root, "", CWD, place, from_fd).map_err(fail("mount at", place))?;
    alone(root).map_err(fail("separate the mount at", place))?;
    let open = |flags| rustix::fs::open(place, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let top = open(OFlags::RDONLY).map_err(fail("open", place))?;
    for (point, tree) in trees {
        let shown = Path::new(&point.target);
        let found = rustix::fs::fstat(tree).map_err(fail("look at", shown))?;
        let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let Some(target) = mount_point(top.as_fd(), &point.target, directory)? else { continue };
        let onto = from_fd | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(tree, "", &target, "", onto).map_err(fail("mount", shown))?;
        alone(tree.as_fd()).map_err(fail("separate the mount at", shown))?;
        // What the container will write over it goes elsewhere, so nobody writes to it in the container's name.
        if point.read_only || point.treatment.overlay {
            let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
            rustix::mount::mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, "")
                .map_err(fail("make read-only", shown))?;
        }
    }
    Ok(top)
}

/// Where something is mounted; a directory is made as a start would make it. What fits nowhere is left out.
fn mount_point(top: BorrowedFd<'_>, target: &str, directory: bool) -> Result<Option<OwnedFd>> {
    let path = Path::new(target.trim_start_matches('/'));
    if directory {
        let made = beneath::mkdir_all(top, path, NewDir::default());
        made.map_err(|source| Error::Layer { operation: "make a mount point in", layer: target.to_owned(), source })?;
    }
    match beneath::open(top, path, OFlags::PATH, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(error) if !directory && error.kind() == mica_layer::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Layer { operation: "look into", layer: target.to_owned(), source }),
    }
}
