//! Turns one file, directory or other node into an archive entry.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, major, minor};
use rustix::io::Errno;

use super::LayerStats;
use crate::archive::{Entry, Kind, Time, Writer};
use crate::attributes;
use crate::copy::Owners;
use crate::error::{Error, Result};

/// Files up to this size in bytes are read before their header is written.
///
/// A header states a size, and a process that writes into the tree meanwhile (`commit --pause=false`, `export` of a
/// running container) truncates files between the look and the read. What small files hold is known before it is
/// stated; that a larger one shrank is an error.
const READ_AHEAD: u64 = 256 * 1024;

/// An archive of nodes.
pub(super) struct Nodes<'a, W> {
    /// Who an owner of the tree is in the archive.
    owners: Option<&'a Owners<'a>>,
    writer: Writer<W>,
    /// The content of a small file.
    ahead: Vec<u8>,
    stats: LayerStats,
    /// The name under which a file with several names was written first.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<'a, W: Write> Nodes<'a, W> {
    pub fn new(sink: W, owners: Option<&'a Owners<'a>>) -> Nodes<'a, W> {
        let (writer, stats) = (Writer::new(sink), LayerStats::default());
        Nodes { owners, writer, ahead: Vec::new(), stats, links: HashMap::new() }
    }

    /// Writes `name` in `dir` as `as_path`; false when there is no such node, or it is one that archives cannot hold.
    /// `path` is for messages.
    pub fn write(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8], as_path: &[u8]) -> Result<bool> {
        let name = if name.is_empty() { b"." } else { name };
        let failed = |e| Error::io("read", path, e);
        let mut stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(failed(e)),
        };
        let mut entry = Entry { path: as_path.to_vec(), ..Entry::default() };
        let mut content = None;
        entry.kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let Some(file) = open(dir, name, &mut stat).map_err(failed)? else { return Ok(false) };
                content = Some(file);
                Kind::File
            }
            FileType::Directory => Kind::Directory,
            FileType::Symlink => {
                entry.link = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(failed)?.into_bytes();
                Kind::Symlink
            }
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            _ => {
                self.stats.sockets += 1;
                return Ok(false);
            }
        };
        entry.mode = stat.st_mode & 0o7777;
        let owner = (stat.st_uid, stat.st_gid);
        (entry.uid, entry.gid) = self.owners.map_or(owner, |owners| owners(owner));
        entry.mtime = Time::of(&stat);
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            (entry.major, entry.minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        }
        if entry.path.is_empty() {
            entry.path = b".".to_vec();
        }
        if let Some(first) = self.first_name(&stat, &entry) {
            entry.kind = Kind::HardLink;
            entry.link = first;
            content = None;
        } else {
            entry.xattrs = attributes::read(dir, name, path)?;
        }
        self.stats.entries += 1;
        match content {
            Some(file) => {
                entry.size = u64::try_from(stat.st_size).unwrap_or(0);
                self.file(&mut entry, Content(file))?;
            }
            None => self.writer.append(&entry, &mut std::io::empty())?,
        }
        Ok(true)
    }

    /// Writes a regular file of about `entry.size` bytes.
    fn file(&mut self, entry: &mut Entry, mut content: impl Read) -> Result<()> {
        if entry.size <= READ_AHEAD {
            self.ahead.clear();
            let read = content.take(entry.size).read_to_end(&mut self.ahead);
            entry.size = read.map_err(|e| Error::io("read", &entry.path, e))? as u64;
            self.writer.append(entry, &mut &self.ahead[..])?;
        } else {
            self.writer.append(entry, &mut content)?;
        }
        self.stats.bytes += entry.size;
        Ok(())
    }

    /// Writes a whiteout or an opaque mark.
    pub fn mark(&mut self, path: &[u8]) -> Result<()> {
        self.stats.entries += 1;
        self.writer.append(&super::mark(path), &mut std::io::empty())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<LayerStats> {
        let (_, size) = self.writer.finish()?;
        self.stats.size = size;
        Ok(self.stats)
    }

    /// The name this file has in the archive already; a file that comes for the first time is remembered.
    fn first_name(&mut self, stat: &Stat, entry: &Entry) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 || entry.kind == Kind::Directory {
            return None;
        }
        let inode = (stat.st_dev, stat.st_ino);
        let first = self.links.get(&inode).cloned();
        if first.is_none() {
            self.links.insert(inode, entry.path.clone());
        }
        first
    }
}

/// Opens a regular file and takes its metadata from what was opened: between the two looks it may have become a fifo.
fn open(dir: BorrowedFd<'_>, name: &[u8], stat: &mut Stat) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    *stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::STALE);
    }
    Ok(Some(file))
}

/// An open file, read without a path.
struct Content(OwnedFd);

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::read(self.0.as_fd(), &mut *buffer))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;

    #[test]
    fn a_file_that_shrinks_is_archived_as_it_was_read_or_refused() {
        for (stated, found, archived) in
            [(5, 5, Some(5)), (5, 0, Some(0)), (5, 3, Some(3)), (5, 9, Some(5)), (READ_AHEAD + 1, READ_AHEAD, None)]
        {
            let mut archive = Vec::new();
            let mut nodes = Nodes::new(&mut archive, None);
            let mut entry = Entry { path: b"file".to_vec(), size: stated, ..Entry::default() };
            let written = nodes.file(&mut entry, std::io::repeat(b'x').take(found));
            let Some(size) = archived else {
                assert!(matches!(written, Err(Error::Io { .. })), "{written:?}");
                continue;
            };
            written.expect("an entry");
            let stats = nodes.finish().expect("an archive");
            assert_eq!((stats.bytes, stats.size), (size, archive.len() as u64), "{stated} {found}");
            let mut reader = Archive::new(&archive[..]);
            assert!(reader.next().expect("an entry").is_some(), "{stated} {found}");
            assert_eq!(reader.entry().size, size, "{stated} {found}");
        }
    }
}
