//! Operations on one subvolume, with the object's name in the error.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use mica_storage_api::layout::Layout;
use mica_storage_api::tree::{self, Deleted};
use mica_storage_api::{Error, ErrorKind, Key, ObjectKind, Result, ResultExt};
use rustix::fs::fstat;
use rustix::io::Errno;

use crate::ioctl::{self, Access, SUBVOLUME_ROOT_INODE};
use crate::quota::Quotas;

/// How deep subvolumes of a container may nest before reaping gives up on it. Each level keeps descriptors open.
const DEEPEST: usize = 64;

/// Makes an empty subvolume for a stage.
pub(crate) fn create(layout: &Layout, id: Key<'_>) -> Result<OwnedFd> {
    ioctl::create(layout.dir(ObjectKind::Stage), id.as_str().as_bytes())
        .during(|| format!("create the subvolume `stage/{id}`"))?;
    layout.open_object(ObjectKind::Stage, id)
}

/// Makes a writable snapshot of a layer for a stage.
pub(crate) fn snapshot(layout: &Layout, layer: Key<'_>, id: Key<'_>) -> Result<OwnedFd> {
    let source = open(layout, ObjectKind::Layer, layer)?;
    ioctl::snapshot(source.as_fd(), layout.dir(ObjectKind::Stage), id.as_str().as_bytes(), Access::Writable)
        .during(|| format!("snapshot `layers/{layer}` as `stage/{id}`"))?;
    layout.open_object(ObjectKind::Stage, id)
}

/// Opens an object and makes sure it is a subvolume: some ioctls quietly act on the one around a plain directory.
pub(crate) fn open(layout: &Layout, kind: ObjectKind, id: Key<'_>) -> Result<OwnedFd> {
    let dir = layout.open_object(kind, id)?;
    if is_subvolume(dir.as_fd()).during(|| format!("stat the {kind:?} `{id}`"))? {
        Ok(dir)
    } else {
        Err(Error::new(ErrorKind::Corrupt, format!("the {kind:?} `{id}` is a directory and no subvolume")))
    }
}

/// Freezes a published layer.
pub(crate) fn freeze(subvolume: BorrowedFd<'_>, key: Key<'_>) -> Result<()> {
    ioctl::set_access(subvolume, Access::ReadOnly).during(|| format!("make `layers/{key}` read-only"))
}

/// Moves an object into the trash. The kernel moves no read-only directory, so a layer is thawed first.
pub(crate) fn discard(layout: &Layout, kind: ObjectKind, id: Key<'_>) -> Result<()> {
    match layout.discard(kind, id) {
        Err(error) if error.errno == Some(Errno::ROFS.raw_os_error()) => {
            let subvolume = match open(layout, kind, id) {
                // Somebody else has removed it meanwhile.
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
                other => other?,
            };
            ioctl::set_access(subvolume.as_fd(), Access::Writable)
                .during(|| format!("make the {kind:?} `{id}` writable to remove it"))?;
            layout.discard(kind, id)
        }
        other => other,
    }
}

/// Deletes an entry of the trash: a subvolume with all that nest in it, or whatever else lies there.
pub(crate) fn delete(
    trash: BorrowedFd<'_>,
    name: &CStr,
    deadline: Option<Instant>,
    quotas: &Quotas,
) -> Result<Deleted> {
    let outcome = destroy_nested(trash, name, 0, quotas)
        .during(|| format!("destroy the subvolume `trash/{}`", name.to_string_lossy()));
    match outcome {
        Ok(true) => Ok(Deleted::Wholly),
        Ok(false) => tree::remove(trash, name, deadline),
        // Without `user_subvol_rm_allowed` only root destroys; an emptied subvolume is removed like a directory.
        Err(error) if error.kind == ErrorKind::Permission => tree::remove(trash, name, deadline),
        Err(error) => Err(error),
    }
}

/// Whether a directory is the root of a subvolume, given that it lies on btrfs.
pub(crate) fn is_subvolume(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(fstat(dir)?.st_ino == SUBVOLUME_ROOT_INODE)
}

/// Destroys a subvolume after its children; `false` when it is none.
fn destroy_nested(parent: BorrowedFd<'_>, name: &CStr, depth: usize, quotas: &Quotas) -> rustix::io::Result<bool> {
    let subvolume = match tree::open(parent, name) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(true),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    if !is_subvolume(subvolume.as_fd())? {
        return Ok(false);
    }
    quotas.lift(subvolume.as_fd());
    let gone = |outcome| match outcome {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(errno) => Err(errno),
    };
    match ioctl::destroy(parent, name.to_bytes()) {
        Err(Errno::NOTEMPTY) if depth < DEEPEST => {}
        outcome => return gone(outcome),
    }
    // A child can only be destroyed in a parent that can be written, and its own parent may have been made read-only inside.
    ioctl::set_access(subvolume.as_fd(), Access::Writable)?;
    for child in ioctl::children(subvolume.as_fd())? {
        let (dir, name) = match ioctl::locate(subvolume.as_fd(), child) {
            Ok(place) => place,
            // Another reaper was faster.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let (Ok(dir), Ok(name)) = (std::ffi::CString::new(dir), std::ffi::CString::new(name)) else { continue };
        let dir = open_below(subvolume.as_fd(), &dir)?;
        destroy_nested(dir.as_fd(), &name, depth + 1, quotas)?;
    }
    match ioctl::destroy(parent, name.to_bytes()) {
        // What is left are the directories that stand where a snapshot was taken of a nested subvolume.
        Err(Errno::NOTEMPTY) => Ok(false),
        outcome => gone(outcome),
    }
}

/// Opens a directory the kernel named, component by component: a link in the way would lead out of the trash.
fn open_below(subvolume: BorrowedFd<'_>, path: &CStr) -> rustix::io::Result<OwnedFd> {
    let mut dir = tree::open(subvolume, c".")?;
    for name in path.to_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        let Ok(name) = std::ffi::CString::new(name) else { return Err(Errno::INVAL) };
        dir = tree::open(dir.as_fd(), &name)?;
    }
    Ok(dir)
}
