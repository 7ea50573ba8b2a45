//! Whose root directory a chain shows. In an overlay it is that of the topmost directory, whatever that layer said about it.
//!
//! A layer's archive need not have an entry for its root, and most have none. Such a layer is **silent**: the chain shows the
//! root of the layer below it. A layer that is unpacked without its parents cannot take theirs over, since it belongs to
//! many chains. So it starts with a modification time that nobody writes, and as long as it has that, it is silent; whoever
//! unpacks puts back the time of a directory that the archive does not mention.
//!
//! A chain's **speaker** is its topmost layer that is not silent, else its bottom. A writable tree and a layer that is staged
//! on parents begin with the speaker's attributes. A view has nothing of its own on top, so it gets `roots/<speaker>`, an
//! empty directory that looks like the speaker's root and goes with the speaker.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_storage_api::layout::{Layout, is_silent, open_dir};
use mica_storage_api::{Error, Key, ObjectKind, Result, ResultExt};
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr,
    fstat, futimens, mkdirat, statat,
};
use rustix::io::Errno;

/// The attributes overlayfs keeps for itself, which say something about one directory only.
const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Where directories lie that look like the root of a layer, by its key.
pub(crate) const ROOTS: &str = "roots";

/// The layer whose root a chain of at least one layer shows: its place in the chain, which is top first.
pub(crate) fn speaker(layout: &Layout, chain: &[Key<'_>]) -> Result<usize> {
    for (place, key) in chain.iter().enumerate() {
        let stat = statat(layout.dir(ObjectKind::Layer), key.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .during(|| format!("stat `layers/{key}`"))?;
        if !is_silent(&stat) {
            return Ok(place);
        }
    }
    Ok(chain.len().saturating_sub(1))
}

/// The directory that holds the roots of views.
pub(crate) fn open_roots(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    match mkdirat(root, ROOTS, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::os(errno, format_args!("make `{ROOTS}` in the driver root"))),
    }
    open_dir(root, ROOTS).during(|| format!("open `{ROOTS}` in the driver root"))
}

/// Makes sure that `roots/<key>` is there and looks like the root of that layer.
///
/// Its time is set last, so one with the right time is whole. Two who make it at once do the same to it.
pub(crate) fn ensure_like(roots: BorrowedFd<'_>, layout: &Layout, key: Key<'_>) -> Result<()> {
    let layer = layout.open_object(ObjectKind::Layer, key)?;
    match mkdirat(roots, key.as_str(), Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::os(errno, format_args!("make `{ROOTS}/{key}`"))),
    }
    let own = open_dir(roots, key.as_str()).during(|| format!("open `{ROOTS}/{key}`"))?;
    let time = |stat: Stat| (stat.st_mtime, stat.st_mtime_nsec);
    let stat = |dir: BorrowedFd<'_>| fstat(dir).during(|| format!("stat the root directory of `{key}`"));
    if time(stat(own.as_fd())?) == time(stat(layer.as_fd())?) {
        return Ok(());
    }
    inherit(layer.as_fd(), own.as_fd())
}

/// Takes `roots/<key>` out of sight, where it is.
pub(crate) fn discard(layout: &Layout, root: BorrowedFd<'_>, key: Key<'_>) -> Result<()> {
    match open_dir(root, ROOTS) {
        Ok(roots) => layout.discard_from(roots.as_fd(), key),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::os(errno, format_args!("open `{ROOTS}` in the driver root"))),
    }
}

/// Gives `to` the owner, mode, extended attributes and times of `from`.
pub(crate) fn inherit(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    copy(from, to).during(|| "copy the attributes of the root directory from the top parent")
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let (stat, own) = (fstat(from)?, fstat(to)?);
    if (stat.st_uid, stat.st_gid) != (own.st_uid, own.st_gid) {
        fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    }
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, to)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    };
    futimens(to, &times)
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // XATTR_LIST_MAX and XATTR_SIZE_MAX: the kernel takes nothing longer, so no second try is needed.
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(from, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    let mut value = vec![0; 64 << 10];
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if OVERLAY_PREFIXES.iter().any(|prefix| name.to_bytes().starts_with(prefix)) {
            continue;
        }
        let length = fgetxattr(from, name, &mut value[..])?;
        match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // A user namespace sees attributes it may not set; the label of SELinux is the mount's business.
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
