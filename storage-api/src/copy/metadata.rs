//! Owner, mode, xattrs and times of one entry, in the order that keeps each: a change of owner clears set-user-ID bits and
//! capabilities, a change of mode rewrites the mask of an ACL, and everything touches the times.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// The kernel's limit for the list of names and for one value.
const XATTR_MAX: usize = 64 * 1024;
const XATTR_USUAL: usize = 512;

/// Room for xattrs, kept from entry to entry.
#[derive(Debug, Default)]
pub struct Metadata {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Metadata {
    /// Finishes a file that is open on both sides.
    pub fn finish_open(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
        rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        rustix::fs::fchmod(to, mode(stat))?;
        self.xattrs(&Open(from), &Open(to))?;
        rustix::fs::futimens(to, &times(stat))
    }

    /// Finishes a directory, after all that is in it.
    pub fn finish_directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let stat = rustix::fs::fstat(from)?;
        self.finish_open(from, to, &stat)
    }

    /// Finishes an entry that cannot be opened: a link, a device, a pipe, a socket.
    pub fn finish_named(
        &mut self,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        name: &CStr,
        stat: &Stat,
    ) -> rustix::io::Result<()> {
        let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
        rustix::fs::chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // Made by us a moment ago and no link, so following is not a question.
            rustix::fs::chmodat(to, name, mode(stat), AtFlags::empty())?;
        }
        self.xattrs(&Named::new(from, name)?, &Named::new(to, name)?)?;
        rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn xattrs(&mut self, from: &impl Xattrs, to: &impl Xattrs) -> rustix::io::Result<()> {
        let length = match with_room(&mut self.names, |room| from.list(room)) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            other => other?,
        };
        for name in self.names[..length].split_inclusive(|byte| *byte == 0) {
            let name = CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL)?;
            let length = with_room(&mut self.value, |room| from.get(name, room))?;
            match to.set(name, &self.value[..length]) {
                // The policy labels files itself and may forbid to choose.
                Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if name == c"security.selinux" => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Asks with little room first: the kernel allocates as much as it is offered, and most files have no xattrs.
fn with_room(room: &mut Vec<u8>, ask: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<usize> {
    room.resize(room.len().max(XATTR_USUAL), 0);
    match ask(&mut room[..XATTR_USUAL]) {
        Err(Errno::RANGE) => {
            room.resize(XATTR_MAX, 0);
            ask(room)
        }
        other => other,
    }
}

trait Xattrs {
    fn list(&self, names: &mut [u8]) -> rustix::io::Result<usize>;
    fn get(&self, name: &CStr, value: &mut [u8]) -> rustix::io::Result<usize>;
    fn set(&self, name: &CStr, value: &[u8]) -> rustix::io::Result<()>;
}

struct Open<'a>(BorrowedFd<'a>);

impl Xattrs for Open<'_> {
    fn list(&self, names: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::flistxattr(self.0, names)
    }

    fn get(&self, name: &CStr, value: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::fgetxattr(self.0, name, value)
    }

    fn set(&self, name: &CStr, value: &[u8]) -> rustix::io::Result<()> {
        rustix::fs::fsetxattr(self.0, name, value, XattrFlags::empty())
    }
}

/// An entry below an open directory. The calls that take a directory descriptor came with Linux 6.13; the way through
/// `/proc/self/fd` resolves one name more.
struct Named(CString);

impl Named {
    fn new(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Self> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        Ok(Self(CString::new(path).map_err(|_| Errno::INVAL)?))
    }
}

impl Xattrs for Named {
    fn list(&self, names: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::llistxattr(&self.0, names)
    }

    fn get(&self, name: &CStr, value: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::lgetxattr(&self.0, name, value)
    }

    fn set(&self, name: &CStr, value: &[u8]) -> rustix::io::Result<()> {
        rustix::fs::lsetxattr(&self.0, name, value, XattrFlags::empty())
    }
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}
