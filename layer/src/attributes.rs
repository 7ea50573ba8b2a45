//! Extended attributes: which ones belong to a layer, how they are read, and what is done when they cannot be set.
//!
//! Three rules hold for reading and writing alike. Overlay's own attributes never cross: in a layer they would forge
//! redirects and opaque directories. `security.selinux` never crosses: the label is the host's choice, made at mount.
//! Everything else is kept byte for byte, `security.capability` in particular.
//!
//! When an attribute cannot be set because the file system or the user namespace has no place for it, a `user.*` one
//! fails the layer, because programs store data there. Any other is left out and counted: losing a capability, a
//! `trusted.*` note or an access list takes rights away and never gives any, and a rootless layer has to unpack.

use std::ffi::OsStr;
use std::io::{Cursor, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::archive::Xattr;
use crate::error::{Error, Result};

const DEFAULT_ACL: &str = "system.posix_acl_default";

/// Whether an attribute says something about the mount or the host, and nothing about the file.
pub(crate) fn is_foreign(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name == b"security.selinux"
}

/// Whether a directory gives what is created in it an access list.
pub(crate) fn has_default_acl(dir: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr_query(dir, DEFAULT_ACL).is_ok()
}

/// The attributes of `name` in `dir`, sorted; an empty name means the directory. Symbolic links are not followed.
///
/// The call goes through `/proc/self/fd`, because it needs no descriptor of the file: opening a fifo would block, and
/// opening a device does who knows what.
pub(crate) fn read(dir: BorrowedFd<'_>, name: &[u8], full: &[u8]) -> Result<Vec<Xattr>> {
    let mut buffer = [0; 320];
    let path = magic(dir, name, &mut buffer);
    let failed = |name: &[u8], e: Errno| failure("read", name, full, e);
    let mut list = [0u8; 1024];
    let long;
    let list = match rustix::fs::llistxattr(path, &mut list[..]) {
        Ok(length) => &list[..length],
        // None here; or the file is gone, which the caller finds out by itself.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOENT) => return Ok(Vec::new()),
        // The kernel keeps a list below 64 KiB.
        Err(Errno::RANGE) => {
            let mut buffer = vec![0u8; 65536];
            let length = rustix::fs::llistxattr(path, &mut buffer[..]).map_err(|e| failed(b"*", e))?;
            buffer.truncate(length);
            long = buffer;
            &long
        }
        Err(e) => return Err(failed(b"*", e)),
    };
    let mut xattrs = Vec::new();
    for name in list.split(|b| *b == 0).filter(|n| !n.is_empty() && !is_foreign(n)) {
        match get(path, name) {
            Ok(value) => xattrs.push((name.to_vec(), value)),
            // Removed meanwhile, or hidden from this user namespace.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(failed(name, e)),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Sets attributes of `name` in `dir`; an empty name means the directory. Returns how many had to be left out.
pub(crate) fn set(dir: BorrowedFd<'_>, name: &[u8], xattrs: &[Xattr], full: &[u8]) -> Result<u64> {
    let mut dropped = 0;
    let mut buffer = [0; 320];
    let path = magic(dir, name, &mut buffer);
    for (name, value) in xattrs.iter().filter(|(name, _)| !is_foreign(name)) {
        dropped += kept(rustix::fs::lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty()), name, full)?;
    }
    Ok(dropped)
}

/// Like [`set`], on an open file.
pub(crate) fn set_open(file: BorrowedFd<'_>, xattrs: &[Xattr], full: &[u8]) -> Result<u64> {
    let mut dropped = 0;
    for (name, value) in xattrs.iter().filter(|(name, _)| !is_foreign(name)) {
        dropped += kept(rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()), name, full)?;
    }
    Ok(dropped)
}

/// Removes every attribute of a directory that is not in `keep`.
pub(crate) fn retain(dir: BorrowedFd<'_>, keep: &[Xattr], full: &[u8]) -> Result<()> {
    for (name, _) in read(dir, b"", full)? {
        if !keep.iter().any(|(kept, _)| *kept == name) {
            match rustix::fs::fremovexattr(dir, OsStr::from_bytes(&name)) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(e) => return Err(failure("remove", &name, full, e)),
            }
        }
    }
    Ok(())
}

/// Removes the access list an open file took over from the directory it was created in.
pub(crate) fn drop_inherited_acls(file: BorrowedFd<'_>) {
    for name in ["system.posix_acl_access", DEFAULT_ACL] {
        // It is rarely there, and where it cannot be removed the file system has none.
        let _ = rustix::fs::fremovexattr(file, name);
    }
}

/// Whether `name` in `dir` could have this attribute. Where its file system has no place for it, it was left out.
pub(crate) fn is_supported(dir: BorrowedFd<'_>, name: &[u8], attribute: &[u8]) -> bool {
    let mut buffer = [0; 320];
    !matches!(get(magic(dir, name, &mut buffer), attribute), Err(Errno::OPNOTSUPP))
}

fn get(path: &OsStr, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let name = OsStr::from_bytes(name);
    let mut value = vec![0u8; 256];
    let length = match rustix::fs::lgetxattr(path, name, &mut value[..]) {
        Err(Errno::RANGE) => {
            value = vec![0u8; 65536];
            rustix::fs::lgetxattr(path, name, &mut value[..])?
        }
        done => done?,
    };
    value.truncate(length);
    Ok(value)
}

fn kept(result: Result<(), Errno>, name: &[u8], full: &[u8]) -> Result<u64> {
    match result {
        Ok(()) => Ok(0),
        // `user.*` on a symbolic link or a device is EPERM for everyone.
        Err(Errno::PERM) => Ok(1),
        Err(Errno::OPNOTSUPP) if !name.starts_with(b"user.") => Ok(1),
        Err(e) => Err(failure("set", name, full, e)),
    }
}

/// The path of a name in an open directory: the last component is never followed by the calls that are used here.
fn magic<'b>(dir: BorrowedFd<'_>, name: &[u8], buffer: &'b mut [u8; 320]) -> &'b OsStr {
    let length = {
        let mut cursor = Cursor::new(&mut buffer[..]);
        // A name has 255 bytes at most and the rest 32, so this cannot fail for a name that exists; cut short, it names
        // nothing.
        let _ = write!(cursor, "/proc/self/fd/{}/", dir.as_fd().as_raw_fd());
        let _ = cursor.write_all(if name.is_empty() { b"." } else { name });
        usize::try_from(cursor.position()).unwrap_or(0)
    };
    OsStr::from_bytes(&buffer[..length])
}

fn failure(op: &'static str, name: &[u8], full: &[u8], e: Errno) -> Error {
    let name = String::from_utf8_lossy(name).into_owned();
    Error::Xattr { op, name, path: crate::beneath::path_of(full), source: e.into() }
}
