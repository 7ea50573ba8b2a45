//! The root directory of a tree takes its attributes from the tree below: in an overlay those of the topmost layer are shown.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use mica_storage_api::{Result, ResultExt};
use rustix::fs::{
    Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens,
};
use rustix::io::Errno;

/// The attributes overlayfs keeps for itself, which say something about one directory only.
const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

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
