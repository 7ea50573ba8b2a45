//! The driver's directories with mapped ids: one clone of the mount that its root lies on, and everything opened below that.
//!
//! One clone does for all layers, and for an upper directory with its work directory, which the kernel wants on one mount. The
//! files keep the owners that the container sees, so a layer made from an upper directory is the same with a mapping or
//! without.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_storage_api::idmap::{clone_mapped, mapped_root};
use mica_storage_api::layout::open_dir;
use mica_storage_api::sys::MountAttr;
use mica_storage_api::{Error, ErrorKind, Result, ResultExt};
use rustix::io::Errno;

/// A driver's root, seen through a mapping.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// The clone dissolves with this descriptor, and the kernel takes no directory of a dissolved one.
    root: OwnedFd,
    /// Who owns there what belongs to root on the disk.
    pub(crate) owner: (u32, u32),
}

impl Mapped {
    /// `top` belongs to root and is of the driver alone.
    pub(crate) fn new(top: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> Result<Self> {
        let root = clone_mapped(top, MountAttr::empty(), userns)?;
        let owner = mapped_root(root.as_fd())?;
        Ok(Self { root, owner })
    }

    /// A directory by its path below the driver's root, which is made of the driver's own names.
    pub(crate) fn dir(&self, path: &str) -> Result<OwnedFd> {
        open_dir(self.root.as_fd(), path).during(|| format!("open `{path}` with mapped ids"))
    }

    /// What a refused mount of such directories means.
    pub(crate) fn explain(error: Error) -> Error {
        if error.errno != Some(Errno::INVAL.raw_os_error()) {
            return error;
        }
        let message = format!(
            "the kernel does not lay an overlay over directories with mapped ids, which takes Linux 6.15 or later; use the btrfs or the vfs driver, or share the host's user namespace ({error})"
        );
        Error { kind: ErrorKind::Unsupported, message, ..error }
    }
}
