//! The manifest of a fresh tree: inode number and change time of every path, which is how an untouched file is known later
//! without reading it.
//!
//! The kernel sets change times and lets nobody else set them, so a path that still leads to the same inode with the same
//! change time is as it was. Sizes and modification times prove nothing: builds that set `SOURCE_DATE_EPOCH` rewrite files
//! under their old times. A path the manifest does not vouch for is compared with the layers, byte by byte: so a manifest
//! that is missing, torn by a power cut or out of date after the store was copied elsewhere costs time and never a change.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use mica_storage_api::{Result, ResultExt, tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, fstat, openat, statat};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::chain::join;
use crate::changes::read_full;
use crate::fill::Progress;

const MAGIC: &[u8] = b"mica vfs manifest 1\n";
/// Inode, seconds, nanoseconds, how much of the path before is repeated, how long the rest is.
const RECORD: usize = 8 + 8 + 4 + 4 + 4;

/// What identifies a state of an inode.
type Mark = (u64, i64, u32);

/// A manifest as it is looked up.
#[derive(Debug, Default)]
pub(crate) struct Manifest(HashMap<Box<[u8]>, Mark>);

impl Manifest {
    /// Whether the entry at `path` is the one that was recorded, untouched since.
    pub(crate) fn vouches_for(&self, path: &[u8], stat: &Stat) -> bool {
        self.0.get(path) == Some(&mark(stat))
    }

    /// Reads the manifest `name` in `dir`; what cannot be read vouches for nothing.
    pub(crate) fn read(dir: BorrowedFd<'_>, name: &str) -> Self {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let read = || {
            let file = openat(dir, name, flags, Mode::empty())?;
            let mut bytes = vec![0; usize::try_from(fstat(&file)?.st_size).unwrap_or_default()];
            let length = read_full(&file, &mut bytes)?;
            bytes.truncate(length);
            Ok::<_, Errno>(bytes)
        };
        read().ok().and_then(|bytes| Self::parse(&bytes)).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut marks = HashMap::with_capacity(rest.len() / (RECORD + 10));
        let mut path: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            let (record, after) = rest.split_first_chunk::<RECORD>()?;
            let word = |at: usize| record.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
            let long = |at: usize| record.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
            let (repeated, length) = (word(20)? as usize, word(24)? as usize);
            if repeated > path.len() || length > after.len() {
                return None;
            }
            path.truncate(repeated);
            path.extend_from_slice(&after[..length]);
            rest = &after[length..];
            marks.insert(path.as_slice().into(), (long(0)?, long(8)? as i64, word(16)?));
        }
        Some(Self(marks))
    }
}

/// Writes the manifest of `tree` as `name` into `dir`, and waits until a change can no longer bear a time that is in it.
pub(crate) fn record(tree: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str, progress: &mut Progress) -> Result<()> {
    let mut bytes = MAGIC.to_vec();
    let (mut latest, mut whole_seconds) = ((i64::MIN, 0), true);
    let mut before: Vec<u8> = Vec::new();
    let mut note = |path: &[u8], stat: &Stat| {
        let (inode, seconds, nanoseconds) = mark(stat);
        whole_seconds &= nanoseconds == 0;
        latest = latest.max((seconds, nanoseconds));
        let repeated = before.iter().zip(path).take_while(|(a, b)| a == b).count();
        bytes.extend_from_slice(&inode.to_le_bytes());
        bytes.extend_from_slice(&seconds.to_le_bytes());
        bytes.extend_from_slice(&nanoseconds.to_le_bytes());
        bytes.extend_from_slice(&(repeated as u32).to_le_bytes());
        bytes.extend_from_slice(&((path.len() - repeated) as u32).to_le_bytes());
        bytes.extend_from_slice(&path[repeated..]);
        before.clear();
        before.extend_from_slice(path);
    };
    let show = || "record the state of a tree";
    note(b"", &statat(tree, c"", AtFlags::EMPTY_PATH).during(show)?);
    let mut ahead = vec![Vec::new()];
    while let Some(path) = ahead.pop() {
        let dir = tree::open_path(tree, &path).during(show)?;
        for (name, _) in tree::names(dir.as_fd()).during(show)? {
            progress.step()?;
            let stat = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).during(show)?;
            let full = join(&path, &name);
            note(&full, &stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                ahead.push(full);
            }
        }
    }
    // Where the clock of a file system ticks in seconds, a change in the same second would go unseen.
    if whole_seconds {
        return Ok(());
    }
    let show = || format!("write the {name} of a tree");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR).during(show)?;
    write_all(file.as_fd(), &bytes).during(show)?;
    wait_beyond(latest);
    Ok(())
}

/// Change times come from a clock that ticks every few milliseconds: until it has, a change may bear the recorded time.
fn wait_beyond(latest: (i64, u32)) {
    // Bounded, in case that somebody set the clock back meanwhile.
    for _ in 0..50 {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
        if (tv_sec, tv_nsec as u32) > latest {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn mark(stat: &Stat) -> Mark {
    (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec as u32)
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))? {
            0 => return Err(Errno::IO),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// A name of a directory entry for messages.
pub(crate) fn shown(path: &[u8], name: &CStr) -> String {
    format!("`/{}`", join(path, name).escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_manifest_vouches_for_nothing() {
        let mut good = MAGIC.to_vec();
        good.extend_from_slice(&[1; 20]);
        good.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, b'a']);
        assert_eq!(Manifest::parse(&good).unwrap().0.len(), 1);
        for bad in [&b""[..], &good[..good.len() - 1], b"mica vfs manifest 2\n", &[&good[..], &[0xff; 40]].concat()] {
            assert!(Manifest::parse(bad).is_none(), "{bad:?}");
        }
    }
}
