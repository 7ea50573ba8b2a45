//! What is done to a bind or a volume before a container gets it: the mount options `U`, `idmap` and `O`, which are Podman's.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use mica_layer::give_tree;
use mica_storage_api::sys::{MountAttr, mount_setattr};
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown, fstat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::ids;
use super::sources::open_directory;
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
            let below = |name: &str| {
                let path = covers.join(name);
                private_directory(&path)?;
                open_directory(&path)
            };
            let (upper, work) = (below("upper")?, below("work")?);
            return cover(tree.as_fd(), (upper.as_fd(), work.as_fd()), self.options().rootless)
                .map_err(|errno| Error::io("mount an overlay over", &point.target)(errno.into()));
        }
        Ok(tree)
    }
}

/// An overlay over a tree, with directories for what is written.
fn cover(
    tree: BorrowedFd<'_>,
    (upper, work): (BorrowedFd<'_>, BorrowedFd<'_>),
    rootless: bool,
) -> rustix::io::Result<OwnedFd> {
    // The top shows who may enter it, and that is as it is below.
    let shown = fstat(tree)?;
    fchown(upper, Some(Uid::from_raw(shown.st_uid)), Some(Gid::from_raw(shown.st_gid)))?;
    fchmod(upper, Mode::from_raw_mode(shown.st_mode))?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // By descriptor, so that no path needs its colons and commas escaped.
    for (option, directory) in [("lowerdir", tree), ("upperdir", upper), ("workdir", work)] {
        fsconfig_set_string(context.as_fd(), option, format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    }
    if rootless {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
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
