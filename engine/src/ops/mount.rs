//! `mount` and `unmount`: a container's root at a path of the host, for as long as somebody wants it there.
//!
//! This is the one thing that is mounted on the host, because somebody asked for it. Overlayfs must not have one upper
//! directory in two mounts, so whoever needs the root meanwhile, a start too, gets a copy of this mount.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use super::root::Mounts;
use super::sources::copy_tree;
use crate::container::Recursion;
use crate::store::{names_in, private_directory};
use crate::{Engine, Error, Result};

/// A container whose root is mounted on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedRoot {
    /// The container's ID.
    pub id: String,
    /// Where its root is.
    pub path: PathBuf,
}

impl Engine {
    /// Mounts a container's root, without its volumes, and says where. One that is mounted stays where it is.
    pub async fn mount(&self, container: &str) -> Result<MountedRoot> {
        let (record, _) = self.look_up(container).await?;
        self.blocking(move |engine| {
            let path = engine.mount_place(&record.id);
            if !is_mounted(&path) {
                private_directory(&path)?;
                let root = engine.open_root(&record, Mounts::RootOnly)?;
                move_mount(&root.directory, "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
                    .map_err(|errno| Error::io("mount at", &path)(errno.into()))?;
            }
            Ok(MountedRoot { id: record.id, path })
        })
        .await
    }

    /// Takes a container's root away from the host; false when it was not there.
    pub async fn unmount(&self, container: &str) -> Result<(String, bool)> {
        let (record, _) = self.look_up(container).await?;
        self.blocking(move |engine| {
            let was = engine.unmount_root(&record.id)?;
            Ok((record.id, was))
        })
        .await
    }

    /// The containers whose roots are mounted.
    pub async fn mounted_roots(&self) -> Result<Vec<MountedRoot>> {
        self.blocking(move |engine| {
            let ids = names_in(&engine.store().run_root().join("mounts"))?;
            let roots = ids.into_iter().map(|id| MountedRoot { path: engine.mount_place(&id), id });
            Ok(roots.filter(|root| is_mounted(&root.path)).collect())
        })
        .await
    }

    /// [`Engine::unmount`] off the async threads. What is still in use there stays for whoever uses it.
    pub(crate) fn unmount_root(&self, id: &str) -> Result<bool> {
        let path = self.mount_place(id);
        let was = is_mounted(&path);
        if was {
            unmount(&path, UnmountFlags::DETACH).map_err(|errno| Error::io("unmount", &path)(errno.into()))?;
        }
        match fs_err::remove_dir(&path) {
            Err(error) if was => Err(Error::io("remove", path)(error)),
            _ => Ok(was),
        }
    }

    /// A copy of the mount of a container's root, when somebody has it on the host.
    pub(crate) fn mounted_root(&self, id: &str) -> Result<Option<OwnedFd>> {
        let path = self.mount_place(id);
        if is_mounted(&path) { copy_tree(&path, Recursion::Disabled).map(Some) } else { Ok(None) }
    }

    fn mount_place(&self, id: &str) -> PathBuf {
        self.store().run_root().join("mounts").join(id)
    }
}

fn is_mounted(path: &Path) -> bool {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}
