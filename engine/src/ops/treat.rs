//! What is done to a bind or a volume before a container gets it: the mount options `U`, `idmap` and `O`, which are Podman's.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use mica_layer::give_tree;
use mica_storage_api::sys::{MountAttr, mount_setattr};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::ids;
use crate::container::{ContainerRecord, MountPoint, PointSource};
use crate::store::private_directory;
use crate::{Engine, Error, Kind, Result};

/// Where the changes of `O` are, below a container's directory.
const COVERS: &str = "covers";

impl Engine {
    /// Treats the source of a mount point, which `tree` is a copy of. `owner` is the container's user, on the host. Blocks.
    pub(super) fn treat(
        &self,
        record: &ContainerRecord,
        (index, point): (usize, &MountPoint),
        tree: OwnedFd,
        owner: (u32, u32),
    ) -> Result<OwnedFd> {
        let treatment = point.treatment;
        if treatment.chown {
            if let PointSource::Bind(path, _) = &point.source {
                refuse_high(path)?;
            }
            give_tree(tree.as_fd(), owner).map_err(|source| Error::Layer {
                operation: "give away",
                layer: point.target.clone(),
                source,
            })?;
        }
        if treatment.idmap
            && let Some(ids) = &record.ids
        {
            let namespace = ids::make(ids, false)?.user;
            mount_setattr(tree.as_fd(), MountAttr::empty(), Some(namespace.as_fd())).map_err(|errno| {
                Error::refused(Kind::Unsupported, format!("the owners of `{}` cannot be mapped: {errno}", point.target))
                    .with_hint("`idmap` is for root, and for file systems with mapped ids, as ext4, xfs, btrfs and tmpfs have them")
            })?;
        }
        if treatment.overlay {
            let covers = self.store().directories(&record.id).state.join(COVERS).join(index.to_string());
            // What the last run has written is gone with it.
            match fs_err::remove_dir_all(&covers) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", covers)(error));
                }
                _ => {}
            }
            return cover(tree.as_fd(), &covers, self.options().rootless).map_err(|error| match error {
                Covering::Files(error) => error,
                Covering::Kernel(errno) => Error::io("mount an overlay over", &point.target)(errno.into()),
            });
        }
        Ok(tree)
    }
}

/// Why nothing was mounted.
enum Covering {
    Files(Error),
    Kernel(rustix::io::Errno),
}

impl From<rustix::io::Errno> for Covering {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Kernel(errno)
    }
}

/// An overlay over a tree, whose changes go below `covers`.
fn cover(tree: BorrowedFd<'_>, covers: &Path, rootless: bool) -> Result<OwnedFd, Covering> {
    let below = |name: &str| {
        let path = covers.join(name);
        private_directory(&path)?;
        super::sources::open_directory(&path)
    };
    let (upper, work) = (below("upper").map_err(Covering::Files)?, below("work").map_err(Covering::Files)?);
    // The top shows who may enter it, and that is as it is below.
    let shown = rustix::fs::fstat(tree)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(shown.st_uid), rustix::fs::Gid::from_raw(shown.st_gid));
    rustix::fs::fchown(&upper, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&upper, rustix::fs::Mode::from_raw_mode(shown.st_mode))?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // By descriptor, so that no path needs its colons and commas escaped.
    for (option, directory) in [("lowerdir", tree), ("upperdir", upper.as_fd()), ("workdir", work.as_fd())] {
        fsconfig_set_string(context.as_fd(), option, format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    }
    if rootless {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// Refuses to give away what everybody on the machine needs, as Podman does.
fn refuse_high(path: &Path) -> Result<()> {
    let real = fs_err::canonicalize(path).map_err(Error::io("find", path))?;
    let names = real.components().filter(|part| matches!(part, Component::Normal(_))).count();
    if names < 2 {
        let message = format!("`{}` cannot be given to a container with `U`", real.display());
        return Err(Error::refused(Kind::InvalidInput, message).with_hint("mount a directory below it"));
    }
    Ok(())
}
