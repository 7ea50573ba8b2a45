//! Tar archives, read and written with bounded memory: [`Archive`], [`Writer`].
//!
//! Written here rather than taken from the `tar` crate because a layer is hostile until proven otherwise: that crate
//! reads names and extension headers of any size into memory, cuts wide numbers to 64 bits without a word, and its
//! `unpack` resolves paths as strings. The formats are POSIX pax, ustar, v7 and GNU's (long names, base-256 numbers, all
//! four sparse encodings).

mod header;
mod pax;
mod read;
mod sparse;
mod write;

use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT};

pub use read::Archive;
pub use write::Writer;

/// The size of a header, and what content is padded to.
pub(crate) const BLOCK: usize = 512;

/// The longest name: what Linux can open in one call. Longer ones are refused when read.
pub(crate) const NAME_MAX: usize = 4095;

/// The most bytes an extension header may have. Peers allow 1 MiB too; a 64 KiB attribute fits many times.
pub(crate) const EXTENSION_MAX: u64 = 1024 * 1024;

/// What an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// Another name for a file that came before.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A modification time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds, always forward: below 1 000 000 000.
    pub nanoseconds: u32,
}

impl Time {
    /// The modification time of a file.
    pub(crate) fn of(stat: &Stat) -> Time {
        Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
    }

    /// What sets this as a modification time, and leaves the access time alone.
    pub(crate) fn to_set(self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() },
        }
    }
}

/// An extended attribute: its name and its value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// A run of bytes that a sparse file really holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// One entry: everything of it but its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name as the archive has it, without trailing slashes: neither clean nor safe.
    pub path: Vec<u8>,
    /// What a hard or symbolic link points to, as the archive has it.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner; never `u32::MAX`, which would mean "leave it" to the kernel.
    pub uid: u32,
    /// Group; never `u32::MAX`.
    pub gid: u32,
    /// The size of a regular file, holes included.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// A device's major number.
    pub major: u32,
    /// A device's minor number.
    pub minor: u32,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
    /// The parts a sparse file holds; nothing for one without holes.
    pub sparse: Option<Vec<Segment>>,
}

impl Entry {
    /// Back to nothing, keeping the allocations: an archive has tens of thousands of entries.
    fn clear(&mut self) {
        let mut path = std::mem::take(&mut self.path);
        let mut link = std::mem::take(&mut self.link);
        let mut xattrs = std::mem::take(&mut self.xattrs);
        path.clear();
        link.clear();
        xattrs.clear();
        *self = Entry { path, link, xattrs, ..Entry::default() };
    }
}

#[cfg(test)]
mod tests;
