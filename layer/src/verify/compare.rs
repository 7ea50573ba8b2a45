//! One name of the directory under comparison against its entry, or against the same name below.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use flate2::Crc;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, major, minor};
use rustix::io::Errno;

use super::model::{Model, Origin, Stated};
use crate::apply::Whiteouts;
use crate::archive::{Archive, Entry, Kind, Segment, Time, Xattr};
use crate::error::Result;
use crate::{attributes, beneath};

/// How much of a file is read at a time.
const BUFFER: usize = 256 * 1024;

/// A directory and a name in it.
type Named<'a> = (&'a OwnedFd, &'a [u8]);

/// Compares content, in buffers that serve for all files.
#[derive(Debug, Default)]
pub(super) struct Reader {
    one: Vec<u8>,
    other: Vec<u8>,
    /// Of what the archive has given of the current entry's content.
    sum: Crc,
}

impl Reader {
    /// What is wrong with `name` in `dir`, by the archive's current entry.
    pub fn entry<R: BufRead>(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        full: &[u8],
        archive: &mut Archive<R>,
        style: Whiteouts,
    ) -> Result<Option<String>> {
        let entry = archive.entry();
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if is_device(entry.kind) && style == Whiteouts::OverlayUser => return Ok(None),
            Err(Errno::NOENT) => return Ok(Some("is missing".to_owned())),
            Err(errno) => return Ok(Some(unreadable(errno))),
        };
        if let Some(wrong) = metadata(dir.as_fd(), name, full, &stat, entry, style) {
            return Ok(Some(wrong));
        }
        match entry.kind {
            Kind::File if stat.st_size.unsigned_abs() != entry.size => {
                Ok(Some(format!("has {} bytes instead of {}", stat.st_size, entry.size)))
            }
            Kind::File if entry.size > 0 => self.content(dir, name, archive),
            _ => Ok(None),
        }
    }

    /// Goes to another entry, of which nothing has been read.
    pub fn begin(&mut self) {
        self.sum.reset();
    }

    /// What the current entry says, whatever was found. Reads the rest of its content.
    pub fn stated<R: BufRead>(&mut self, archive: &mut Archive<R>) -> Result<Stated> {
        loop {
            let chunk = archive.content()?;
            let length = chunk.len();
            if length == 0 {
                return Ok(Stated { entry: archive.entry().clone(), sum: self.sum.sum() });
            }
            self.sum.update(chunk);
            archive.consume(length);
        }
    }

    /// What is wrong with a further name of the file `target`. That the two are still one file is not looked for here: a
    /// later layer may take `target` away from it.
    pub fn link(&mut self, model: &Model<'_>, target: &[u8], full: &[u8], stated: Option<&Stated>) -> Option<String> {
        let (parent, name) = beneath::split(full);
        let open = |root, path| beneath::open_physical(root, path, OFlags::RDONLY | OFlags::DIRECTORY);
        let found = open(model.target.root, parent).and_then(|dir| {
            let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((dir, stat))
        });
        let (dir, stat) = match found {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Some("is missing".to_owned()),
            Err(errno) => return Some(unreadable(errno)),
        };
        if inode(model, target) == Some((stat.st_dev, stat.st_ino)) {
            return None;
        }
        if let Some(stated) = stated {
            return metadata(dir.as_fd(), name, full, &stat, &stated.entry, model.target.whiteouts)
                .or_else(|| self.holds(&dir, name, &stat, stated));
        }
        // What no entry has described is inherited.
        let root = if model.states.contains_key(target) { model.target.root } else { model.target.merged? };
        let (parent, base) = beneath::split(target);
        match open(root, parent) {
            Ok(other) => self.alike((&other, base), (&dir, name), full),
            Err(errno) => Some(unreadable(errno)),
        }
    }

    /// How `name` differs in two directories; nothing when it is alike.
    pub fn pair(&mut self, below: &OwnedFd, dir: &OwnedFd, name: &[u8], full: &[u8]) -> Option<String> {
        self.alike((below, name), (dir, name), full)
    }

    /// How a name differs from one in another directory.
    fn alike(&mut self, expected: Named<'_>, found: Named<'_>, full: &[u8]) -> Option<String> {
        let [(below, below_name), (dir, name)] =
            [expected, found].map(|(dir, name)| (dir, if name.is_empty() { b"." } else { name }));
        let stat = |dir: &OwnedFd, name: &[u8]| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let expected = match stat(below, below_name) {
            Ok(stat) => stat,
            Err(errno) => {
                return Some(format!("cannot be compared with what lies below: {}", std::io::Error::from(errno)));
            }
        };
        let found = match stat(dir, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Some("is missing".to_owned()),
            Err(errno) => return Some(unreadable(errno)),
        };
        // Nobody but the kernel sets a change time, so this is one file that nothing has happened to; in a snapshot it has the
        // same inode number on another device.
        let identity = |s: &Stat| (s.st_ino, s.st_ctime, s.st_ctime_nsec, s.st_size, s.st_mode);
        let kind = FileType::from_raw_mode(expected.st_mode);
        if identity(&expected) == identity(&found) && kind != FileType::Directory {
            return None;
        }
        let plain =
            |s: &Stat| (FileType::from_raw_mode(s.st_mode), s.st_mode & 0o7777, s.st_uid, s.st_gid, Time::of(s));
        if plain(&expected) != plain(&found) {
            return Some(describe(&expected, &found));
        }
        match (attributes::read(below.as_fd(), below_name, full), attributes::read(dir.as_fd(), name, full)) {
            (Ok(expected), Ok(found)) if expected == found => {}
            (Ok(_), Ok(_)) => return Some("has other extended attributes".to_owned()),
            (_, Err(error)) | (Err(error), _) => return Some(error.to_string()),
        }
        match kind {
            FileType::RegularFile if expected.st_size != found.st_size => {
                Some(format!("has {} bytes instead of {}", found.st_size, expected.st_size))
            }
            FileType::RegularFile => self.pair_content((below, below_name), (dir, name)),
            FileType::Symlink => {
                let link = |dir: &OwnedFd, name: &[u8]| rustix::fs::readlinkat(dir, name, Vec::new()).ok();
                (link(below, below_name) != link(dir, name)).then(|| "points somewhere else".to_owned())
            }
            FileType::CharacterDevice | FileType::BlockDevice if expected.st_rdev != found.st_rdev => {
                Some("is another device".to_owned())
            }
            _ => None,
        }
    }

    fn content<R: BufRead>(&mut self, dir: &OwnedFd, name: &[u8], archive: &mut Archive<R>) -> Result<Option<String>> {
        self.one.resize(BUFFER, 0);
        let file = match open(dir, name) {
            Ok(file) => file,
            Err(errno) => return Ok(Some(unreadable(errno))),
        };
        let mut at = 0;
        if let Some(segments) = archive.entry().sparse.clone() {
            for segment in segments {
                if let Some(wrong) = self.empty(&file, at, segment.offset) {
                    return Ok(Some(wrong));
                }
                at = segment.offset;
                let end = segment.offset.saturating_add(segment.length);
                if let Some(wrong) = self.stored(&file, &mut at, end, archive)? {
                    return Ok(Some(wrong));
                }
            }
            return Ok(self.empty(&file, at, archive.entry().size));
        }
        let size = archive.entry().size;
        self.stored(&file, &mut at, size, archive)
    }

    /// Compares what the archive stores with the file from `at` on.
    fn stored<R: BufRead>(
        &mut self,
        file: &OwnedFd,
        at: &mut u64,
        end: u64,
        archive: &mut Archive<R>,
    ) -> Result<Option<String>> {
        while *at < end {
            let chunk = archive.content()?;
            let left = usize::try_from(end - *at).unwrap_or(usize::MAX);
            let length = chunk.len().min(BUFFER).min(left);
            if length == 0 {
                break;
            }
            match read_at(file, &mut self.one[..length], *at) {
                Ok(read) if self.one[..read] == chunk[..length] => {}
                Ok(_) => return Ok(Some(other_content(*at))),
                Err(errno) => return Ok(Some(unreadable(errno))),
            }
            self.sum.update(&chunk[..length]);
            archive.consume(length);
            *at += length as u64;
        }
        Ok(None)
    }

    /// Finds out whether a part of a file reads as zeros, without reading its holes.
    fn empty(&mut self, file: &OwnedFd, mut at: u64, end: u64) -> Option<String> {
        while at < end {
            at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) if data < end => data,
                Ok(_) | Err(Errno::NXIO) => return None,
                Err(errno) => return Some(unreadable(errno)),
            };
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER);
            match read_at(file, &mut self.one[..length], at) {
                Ok(0) => return None,
                Ok(read) if self.one[..read].iter().all(|byte| *byte == 0) => at += read as u64,
                Ok(_) => return Some(other_content(at)),
                Err(errno) => return Some(unreadable(errno)),
            }
        }
        None
    }

    /// What is wrong with the content of a name that must have an entry's.
    fn holds(&mut self, dir: &OwnedFd, name: &[u8], stat: &Stat, stated: &Stated) -> Option<String> {
        let Stated { entry, sum } = stated;
        if entry.kind != Kind::File {
            return None;
        }
        if stat.st_size.unsigned_abs() != entry.size {
            return Some(format!("has {} bytes instead of {}", stat.st_size, entry.size));
        }
        let file = match open(dir, name) {
            Ok(file) => file,
            Err(errno) => return Some(unreadable(errno)),
        };
        self.one.resize(BUFFER, 0);
        let whole = || vec![Segment { offset: 0, length: entry.size }];
        let (mut at, mut found) = (0, Crc::new());
        for segment in entry.sparse.clone().unwrap_or_else(whole) {
            if let Some(wrong) = self.empty(&file, at, segment.offset) {
                return Some(wrong);
            }
            at = segment.offset;
            let end = segment.offset.saturating_add(segment.length);
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER);
                match read_at(&file, &mut self.one[..length], at) {
                    Ok(0) => break,
                    Ok(read) => {
                        found.update(&self.one[..read]);
                        at += read as u64;
                    }
                    Err(errno) => return Some(unreadable(errno)),
                }
            }
        }
        if found.sum() != *sum {
            return Some("has other content".to_owned());
        }
        self.empty(&file, at, entry.size)
    }

    fn pair_content(&mut self, expected: Named<'_>, found: Named<'_>) -> Option<String> {
        self.one.resize(BUFFER, 0);
        self.other.resize(BUFFER, 0);
        let (expected, found) = match (open(expected.0, expected.1), open(found.0, found.1)) {
            (Ok(expected), Ok(found)) => (expected, found),
            (Err(errno), _) | (_, Err(errno)) => return Some(unreadable(errno)),
        };
        let mut at = 0;
        loop {
            let (one, other) = match (read_at(&expected, &mut self.one, at), read_at(&found, &mut self.other, at)) {
                (Ok(one), Ok(other)) => (one, other),
                (Err(errno), _) | (_, Err(errno)) => return Some(unreadable(errno)),
            };
            if self.one[..one] != self.other[..other] {
                return Some(other_content(at));
            }
            if one == 0 {
                return None;
            }
            at += one as u64;
        }
    }
}

/// What is wrong with the root, by its entry.
pub(super) fn root(model: &Model<'_>, entry: &Entry) -> Option<String> {
    let root = match beneath::open_physical(model.target.root, b"", OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(root) => root,
        Err(errno) => return Some(unreadable(errno)),
    };
    match rustix::fs::fstat(&root) {
        Ok(stat) => metadata(root.as_fd(), b"", b"", &stat, entry, model.target.whiteouts),
        Err(errno) => Some(unreadable(errno)),
    }
}

/// What is wrong with a directory that no entry describes: it is like the one below, or plain.
pub(super) fn made(model: &Model<'_>, path: &[u8], origin: Origin) -> Option<String> {
    let (parent, name) = beneath::split(path);
    let open = |root| beneath::open_physical(root, parent, OFlags::RDONLY | OFlags::DIRECTORY);
    // Without its directory, that is the difference.
    let dir = open(model.target.root).ok()?;
    if let (Origin::Below, Some(below)) = (origin, model.target.merged) {
        return Reader::default().pair(&open(below).ok()?, &dir, name, path);
    }
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => Some("is no directory".to_owned()),
        Ok(stat) if (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) != (0o755, 0, 0) => Some(format!(
            "has mode {:04o} and owner {}:{} instead of 0755 and 0:0",
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid
        )),
        Ok(_) => None,
        Err(Errno::NOENT) => Some("is missing".to_owned()),
        Err(errno) => Some(unreadable(errno)),
    }
}

/// What is wrong with a name that must be overlay's whiteout.
pub(super) fn whiteout(dir: &OwnedFd, name: &[u8]) -> Option<String> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_whiteout(&stat) => None,
        Ok(_) => Some("is there instead of its deletion".to_owned()),
        Err(Errno::NOENT) => Some("has lost its deletion".to_owned()),
        Err(errno) => Some(unreadable(errno)),
    }
}

/// Device and inode number of a name; nothing when it is not there.
pub(super) fn inode(model: &Model<'_>, path: &[u8]) -> Option<(u64, u64)> {
    let (parent, name) = beneath::split(path);
    let dir = beneath::open_physical(model.target.root, parent, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
    let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Whether this is overlay's whiteout.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// What is said of something that the disk does not give back.
pub(super) fn unreadable(errno: Errno) -> String {
    format!("cannot be read: {}", std::io::Error::from(errno))
}

fn other_content(at: u64) -> String {
    format!("has other content from byte {at} on, or a little after")
}

fn metadata(
    dir: BorrowedFd<'_>,
    name: &[u8],
    full: &[u8],
    stat: &Stat,
    entry: &Entry,
    style: Whiteouts,
) -> Option<String> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let expected = match entry.kind {
        Kind::File | Kind::HardLink => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Directory => FileType::Directory,
        Kind::Fifo => FileType::Fifo,
    };
    if kind != expected {
        return Some(format!("is {} instead of {}", word(kind), word(expected)));
    }
    let mode = expected_mode(entry);
    if kind != FileType::Symlink && stat.st_mode & 0o7777 != mode {
        return Some(format!("has mode {:04o} instead of {mode:04o}", stat.st_mode & 0o7777));
    }
    if (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid) {
        return Some(format!("belongs to {}:{} instead of {}:{}", stat.st_uid, stat.st_gid, entry.uid, entry.gid));
    }
    if !is_time(stat, entry.mtime) {
        let found = Time::of(stat);
        return Some(format!(
            "was modified at {}.{:09} instead of {}.{:09}",
            found.seconds, found.nanoseconds, entry.mtime.seconds, entry.mtime.nanoseconds
        ));
    }
    match kind {
        FileType::Symlink => match rustix::fs::readlinkat(dir, name, Vec::new()) {
            Ok(link) if link.as_bytes() == entry.link => {}
            Ok(_) => return Some("points somewhere else".to_owned()),
            Err(errno) => return Some(unreadable(errno)),
        },
        FileType::CharacterDevice | FileType::BlockDevice
            if (major(stat.st_rdev), minor(stat.st_rdev)) != (entry.major, entry.minor) =>
        {
            return Some("is another device".to_owned());
        }
        _ => {}
    }
    let found = match attributes::read(dir, name, full) {
        Ok(found) => found,
        Err(error) => return Some(error.to_string()),
    };
    xattrs(dir, name, entry, &found, style)
}

/// The mode a file ends up with: an access list that is set after it says the same in other words, and wins.
fn expected_mode(entry: &Entry) -> u32 {
    let list = entry.xattrs.iter().find(|(name, _)| name == ACL).map(|(_, value)| value.as_slice());
    let Some(list) = list.filter(|list| list.len() >= 4) else { return entry.mode };
    let mut mode = entry.mode & !0o777;
    let mut group = None;
    // Entries of eight bytes after a version of four: tag, permissions, id (acl(5), `linux/posix_acl_xattr.h`).
    for one in list[4..].chunks_exact(8) {
        let permissions = u32::from(u16::from_le_bytes([one[2], one[3]])) & 7;
        match u16::from_le_bytes([one[0], one[1]]) {
            0x01 => mode |= permissions << 6,
            0x04 if group.is_none() => group = Some(permissions),
            0x10 => group = Some(permissions),
            0x20 => mode |= permissions,
            _ => {}
        }
    }
    mode | group.unwrap_or(0) << 3
}

const ACL: &[u8] = b"system.posix_acl_access";

/// Whether a file has the time an entry says, as far as its file system can tell times.
fn is_time(stat: &Stat, expected: Time) -> bool {
    let found = Time::of(stat);
    if found == expected {
        return true;
    }
    // A change time without nanoseconds is that of a file system without them.
    let coarse = stat.st_ctime_nsec == 0;
    if coarse && found.nanoseconds == 0 && found.seconds == expected.seconds {
        return true;
    }
    // What a file system cannot hold it takes for the nearest it can.
    let (least, most) = (i64::from(i32::MIN), i64::from(i32::MAX));
    (expected.seconds > most && (most..expected.seconds).contains(&found.seconds))
        || (expected.seconds < least && (expected.seconds..=least).contains(&found.seconds))
}

/// What is wrong with attributes. One that the file system has no place for was left out when the layer was applied, and
/// so was an access list that says no more than the mode.
fn xattrs(dir: BorrowedFd<'_>, name: &[u8], entry: &Entry, found: &[Xattr], style: Whiteouts) -> Option<String> {
    let expected = &entry.xattrs;
    let shown = |name: &[u8]| format!("`{}`", name.escape_ascii());
    let wanted =
        |name: &[u8]| expected.iter().rev().find(|(n, _)| n == name).filter(|(n, _)| !attributes::is_foreign(n));
    for (name, value) in found {
        match wanted(name) {
            None => return Some(format!("has the extended attribute {} too many", shown(name))),
            Some((_, expected)) if expected != value => {
                return Some(format!("has another value of the extended attribute {}", shown(name)));
            }
            Some(_) => {}
        }
    }
    expected
        .iter()
        .filter(|(name, _)| !attributes::is_foreign(name) && !found.iter().any(|(n, _)| n == name))
        .find(|(attribute, value)| {
            let minimal = attribute == ACL && value.len() <= 4 + 3 * 8;
            let hidden = style == Whiteouts::OverlayUser && !attribute.starts_with(b"user.");
            // `user.*` is for files and directories alone (xattr(7)).
            let misplaced = attribute.starts_with(b"user.") && !matches!(entry.kind, Kind::File | Kind::Directory);
            !minimal && !hidden && !misplaced && attributes::is_supported(dir, name, attribute)
        })
        .map(|(name, _)| format!("has lost the extended attribute {}", shown(name)))
}

fn describe(expected: &Stat, found: &Stat) -> String {
    let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
    if kind(expected) != kind(found) {
        return format!("is {} instead of {}", word(kind(found)), word(kind(expected)));
    }
    if expected.st_mode != found.st_mode {
        return format!("has mode {:04o} instead of {:04o}", found.st_mode & 0o7777, expected.st_mode & 0o7777);
    }
    if (expected.st_uid, expected.st_gid) != (found.st_uid, found.st_gid) {
        return format!(
            "belongs to {}:{} instead of {}:{}",
            found.st_uid, found.st_gid, expected.st_uid, expected.st_gid
        );
    }
    let (expected, found) = (Time::of(expected), Time::of(found));
    format!(
        "was modified at {}.{:09} instead of {}.{:09}",
        found.seconds, found.nanoseconds, expected.seconds, expected.nanoseconds
    )
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "something unknown",
    }
}

fn is_device(kind: Kind) -> bool {
    matches!(kind, Kind::CharDevice | Kind::BlockDevice)
}

fn open(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &OwnedFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *rest, at + filled as u64))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
