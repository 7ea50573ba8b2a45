//! Copies one file, link, device or fifo with everything about it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Uid};
use rustix::io::Errno;

use super::Owners;
use crate::archive::Time;
use crate::attributes;
use crate::error::{Error, Result};

/// What a copy gets instead of what its source has.
#[derive(Clone, Copy, Default)]
pub(super) struct Overrides<'a> {
    pub owner: Option<(u32, u32)>,
    pub owners: Option<&'a Owners<'a>>,
    pub mode: Option<u32>,
}

impl Overrides<'_> {
    /// Who gets what belongs to `source`.
    pub fn owner_of(&self, source: (u32, u32)) -> (u32, u32) {
        self.owner.unwrap_or_else(|| self.owners.map_or(source, |owners| owners(source)))
    }
}

/// The ways to copy content that this pair of file systems has refused; each is tried once and not again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways {
    clone: bool,
    range: bool,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways { clone: true, range: true }
    }
}

/// One end of a copy: a name in an open directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub dir: BorrowedFd<'a>,
    pub name: &'a [u8],
    /// Whether what is created there takes over an access list.
    pub inherits: bool,
}

impl<'a> Name<'a> {
    /// A name to read, or to create in a directory that gives nothing to what is in it.
    pub fn new(dir: BorrowedFd<'a>, name: &'a [u8]) -> Name<'a> {
        Name { dir, name, inherits: false }
    }

    /// A name to create in any directory.
    pub fn in_any(dir: BorrowedFd<'a>, name: &'a [u8]) -> Name<'a> {
        Name { dir, name, inherits: attributes::has_default_acl(dir) }
    }
}

/// Copies anything but a directory and a socket to a name that must be free. Returns how many bytes of content it has.
pub(super) fn copy(
    from: Name<'_>,
    to: Name<'_>,
    overrides: Overrides<'_>,
    ways: &mut Ways,
    path: &[u8],
) -> Result<u64> {
    let failed = |e| Error::io("copy", path, e);
    let stat = rustix::fs::statat(from.dir, from.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::RegularFile {
        return file(from, to, overrides, ways, path);
    }
    match kind {
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from.dir, from.name, Vec::new()).map_err(failed)?;
            rustix::fs::symlinkat(&link, to.dir, to.name).map_err(failed)?;
        }
        _ => rustix::fs::mknodat(to.dir, to.name, kind, Mode::empty(), stat.st_rdev).map_err(failed)?,
    }
    let (uid, gid) = overrides.owner_of((stat.st_uid, stat.st_gid));
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(to.dir, to.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if kind != FileType::Symlink {
        chmod(to, overrides.mode.unwrap_or(stat.st_mode & 0o7777)).map_err(failed)?;
    }
    attributes::set(to.dir, to.name, &attributes::read(from.dir, from.name, path)?, path)?;
    rustix::fs::utimensat(to.dir, to.name, &Time::of(&stat).to_set(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    Ok(0)
}

/// Owner, mode, attributes and times of an open file or directory, like another's.
pub(super) fn dress(
    from: Name<'_>,
    stat: &Stat,
    to: BorrowedFd<'_>,
    overrides: Overrides<'_>,
    path: &[u8],
) -> Result<()> {
    let failed = |e| Error::io("set the owner of", path, e);
    let (uid, gid) = overrides.owner_of((stat.st_uid, stat.st_gid));
    rustix::fs::fchown(to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
    // The mode after the owner, whose change clears set-id bits, and attributes last for the same reason.
    let mode = overrides.mode.unwrap_or(stat.st_mode & 0o7777);
    rustix::fs::fchmod(to, Mode::from_raw_mode(mode)).map_err(failed)?;
    attributes::set_open(to, &attributes::read(from.dir, from.name, path)?, path)?;
    rustix::fs::futimens(to, &Time::of(stat).to_set()).map_err(|e| Error::io("set times of", path, e))
}

fn file(from: Name<'_>, to: Name<'_>, overrides: Overrides<'_>, ways: &mut Ways, path: &[u8]) -> Result<u64> {
    let failed = |e| Error::io("copy", path, e);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from.dir, from.name, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&source).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        // It became something else since it was looked at; a device would be read for ever.
        return Err(failed(Errno::STALE));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(to.dir, to.name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    if to.inherits {
        attributes::drop_inherited_acls(copy.as_fd());
    }
    let bytes = content(&source, &copy, &stat, ways).map_err(failed)?;
    dress(from, &stat, copy.as_fd(), overrides, path)?;
    Ok(bytes)
}

fn content(from: &OwnedFd, to: &OwnedFd, stat: &Stat, ways: &mut Ways) -> Result<u64, Errno> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if ways.clone && size > 0 {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(size),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => ways.clone = false,
            Err(e) => return Err(e),
        }
    }
    // Fewer blocks than bytes means holes; a database file of a terabyte may hold a megabyte.
    let stored = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if stored < size && sparse(from, to, size, ways)? {
        return Ok(size);
    }
    range(from, to, 0, size, ways)
}

/// Copies only the parts of a file that hold data; false when the file system cannot tell.
fn sparse(from: &OwnedFd, to: &OwnedFd, size: u64, ways: &mut Ways) -> Result<bool, Errno> {
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) if at == 0 => return Ok(false),
            Err(e) => return Err(e),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        range(from, to, start, end.saturating_sub(start), ways)?;
        at = end;
    }
    rustix::fs::ftruncate(to, size)?;
    Ok(true)
}

/// Copies `length` bytes from `start`, or fewer when the file shrinks; returns how many there were.
fn range(from: &OwnedFd, to: &OwnedFd, start: u64, length: u64, ways: &mut Ways) -> Result<u64, Errno> {
    let mut done = 0;
    while ways.range && done < length {
        let (mut read_at, mut write_at) = (start + done, start + done);
        let want = usize::try_from(length - done).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), want) {
            // Also what some pseudo file systems say at once: the loop below finds out.
            Ok(0) => break,
            Ok(copied) => done += copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => ways.range = false,
            Err(e) => return Err(e),
        }
    }
    let mut buffer = Vec::new();
    while done < length {
        buffer.resize(256 * 1024, 0);
        let want = buffer.len().min(usize::try_from(length - done).unwrap_or(usize::MAX));
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut buffer[..want], start + done))?;
        if read == 0 {
            break;
        }
        let mut written = 0;
        while written < read {
            let at = start + done + written as u64;
            match rustix::io::retry_on_intr(|| rustix::io::pwrite(to, &buffer[written..read], at))? {
                0 => return Err(Errno::IO),
                more => written += more,
            }
        }
        done += read as u64;
    }
    Ok(done)
}

/// Sets the mode of a node that must not be opened: through an `O_PATH` descriptor, so that a link put in its place
/// meanwhile is not followed.
fn chmod(to: Name<'_>, mode: u32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;

    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(to.dir, to.name, flags, Mode::empty())?;
    rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), Mode::from_raw_mode(mode))
}
