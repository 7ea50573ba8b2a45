//! Owner, mode and times of what an apply creates, and overlay's marks.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::Whiteouts;
use crate::attributes;
use crate::error::{Error, Result};

pub(super) use crate::attributes::has_default_acl;

/// What a new file has without being told, so that calls which would change nothing are left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Creation {
    uid: u32,
    gid: u32,
    umask: u32,
}

impl Creation {
    /// Asks this process.
    pub fn current() -> Creation {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Reading the umask by setting it would race with other threads. Unknown counts as one that hides everything.
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|l| l.strip_prefix("Umask:"));
        let umask = umask.and_then(|u| u32::from_str_radix(u.trim(), 8).ok()).unwrap_or(0o777);
        Creation { uid, gid, umask }
    }

    /// Whether something created in a directory that `inherits` must be given its owner.
    pub fn wrong_owner(&self, uid: u32, gid: u32, inherits: bool) -> bool {
        inherits || (uid, gid) != (self.uid, self.gid)
    }

    /// Whether something created with `mode` must be given it again: set-id bits do not survive `chown`.
    pub fn wrong_mode(&self, mode: u32, inherits: bool) -> bool {
        inherits || mode & 0o7000 != 0 || mode & self.umask != 0
    }
}

/// Owner and mode of an open file that was just created.
pub(super) fn own(
    file: BorrowedFd<'_>,
    entry: &crate::archive::Entry,
    creation: Creation,
    inherits: bool,
) -> Result<(), Errno> {
    if inherits {
        attributes::drop_inherited_acls(file);
    }
    if creation.wrong_owner(entry.uid, entry.gid, inherits) {
        rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    if creation.wrong_mode(entry.mode, inherits) {
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    }
    Ok(())
}

/// Makes a directory like another: owner, mode, attributes. Its time comes last of all, from the caller.
pub(super) fn copy_dir(source: BorrowedFd<'_>, stat: &Stat, made: BorrowedFd<'_>, full: &[u8]) -> Result<()> {
    let failed = |e| Error::io("set the owner of", full, e);
    rustix::fs::fchown(made, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).map_err(failed)?;
    rustix::fs::fchmod(made, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed)?;
    let xattrs = attributes::read(source, b"", full)?;
    attributes::retain(made, &xattrs, full)?;
    attributes::set_open(made, &xattrs, full)?;
    Ok(())
}

/// Whether `name` in `dir` is overlay's whiteout.
pub(super) fn is_whiteout(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0)
}

/// Marks a directory as hiding everything below it, in overlay's way; nothing for styles without marks.
pub(super) fn set_opaque(dir: BorrowedFd<'_>, style: Whiteouts, full: &[u8]) -> Result<()> {
    let name = match style {
        Whiteouts::OverlayTrusted => "trusted.overlay.opaque",
        Whiteouts::OverlayUser => "user.overlay.opaque",
        Whiteouts::Direct | Whiteouts::OciFiles => return Ok(()),
    };
    rustix::fs::fsetxattr(dir, name, b"y", XattrFlags::empty()).map_err(|e| Error::Xattr {
        op: "set",
        name: name.to_owned(),
        path: crate::beneath::path_of(full),
        source: e.into(),
    })
}
