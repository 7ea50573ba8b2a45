//! Random work on files: the same operation on two trees, which must end the same way on both.

use fastrand::Rng;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags, chmodat, chownat, fsetxattr, ftruncate, linkat,
    mkdirat, mknodat, openat, renameat_with, symlinkat, unlinkat,
};
use rustix::io::{Errno, pwrite};

use crate::ids;
use crate::tree::Tree;
use crate::verdict::{Outcome, Stop, ensure};
use crate::writer::Writer;

/// Whether files may get further names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Yes,
    No,
}

/// A random sequence of operations. Names are few, so that they meet each other.
#[derive(Debug)]
pub(crate) struct Work {
    rng: Rng,
}

#[derive(Debug)]
enum Act {
    Write(String, u64, Vec<u8>),
    Truncate(String, u64),
    Unlink(String),
    RemoveDir(String),
    RemoveTree(String),
    MakeDir(String),
    Symlink(String),
    Node(String, FileType),
    Link(String, String),
    Rename(String, String),
    Exchange(String, String),
    Mode(String, u32),
    Owner(String, u32),
    Attribute(String, u8),
}

impl Work {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng }
    }

    /// Does `steps` operations to both trees; a failure of one must be the failure of the other.
    ///
    /// A driver may refuse to rename a directory of a layer (EXDEV, as rename(2) says); then the other tree keeps it too.
    pub(crate) fn both(&mut self, subject: Writer<'_>, model: Writer<'_>, steps: usize, links: Links) -> Outcome {
        for step in 0..steps {
            let act = self.next(links);
            let done = act.perform(subject);
            if done == Err(Errno::XDEV) && matches!(act, Act::Rename(..) | Act::Exchange(..)) {
                continue;
            }
            let expected = act.perform(model);
            ensure!(
                done == expected,
                "operation {step}, {act:?}, ends with {done:?}, and in a directory with {expected:?}"
            );
        }
        Ok(())
    }

    fn next(&mut self, links: Links) -> Act {
        let path = self.path();
        match self.rng.u32(0..100) {
            0..22 => {
                let length = self.rng.usize(0..9000);
                let byte = self.rng.u8(..);
                Act::Write(path, self.rng.u64(0..3) * 5000, vec![byte; length])
            }
            22..26 => Act::Truncate(path, self.rng.u64(0..20_000)),
            26..36 => Act::Unlink(path),
            36..40 => Act::RemoveDir(path),
            40..42 => Act::RemoveTree(path),
            42..62 => Act::MakeDir(path),
            62..66 => Act::Symlink(path),
            66..68 => Act::Node(path, if self.rng.bool() { FileType::Fifo } else { FileType::BlockDevice }),
            68..73 if links == Links::Yes => Act::Link(path, self.path()),
            73..82 => Act::Rename(path, self.path()),
            82..84 => Act::Exchange(path, self.path()),
            84..90 => Act::Mode(path, self.rng.u32(0o600..0o777)),
            90..94 => Act::Owner(path, self.rng.u32(0..3)),
            _ => Act::Attribute(path, self.rng.u8(..)),
        }
    }

    fn path(&mut self) -> String {
        let depth = self.rng.usize(1..=3);
        let mut names = Vec::new();
        for _ in 0..depth {
            names.push(["a", "b", "c", "d"][self.rng.usize(0..4)]);
        }
        names.join("/")
    }
}

impl Act {
    fn perform(&self, to: Writer<'_>) -> Result<(), Errno> {
        let dir = to.root;
        let open = |path: &str, flags: OFlags| {
            openat(dir, path, flags | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))
        };
        match self {
            Self::Write(path, offset, bytes) => {
                must_be_file(to, path)?;
                let file = open(path, OFlags::CREATE | OFlags::WRONLY)?;
                let mut written = 0;
                while written < bytes.len() {
                    written += pwrite(&file, &bytes[written..], offset + written as u64)?;
                }
                Ok(())
            }
            Self::Truncate(path, length) => {
                must_be_file(to, path)?;
                ftruncate(open(path, OFlags::WRONLY)?, *length)
            }
            Self::Unlink(path) => unlinkat(dir, path.as_str(), AtFlags::empty()),
            Self::RemoveDir(path) => unlinkat(dir, path.as_str(), AtFlags::REMOVEDIR),
            Self::RemoveTree(path) => remove_tree(to, path),
            Self::MakeDir(path) => mkdirat(dir, path.as_str(), Mode::from_raw_mode(0o755)),
            Self::Symlink(path) => symlinkat("to/nowhere", dir, path.as_str()),
            Self::Node(path, kind) => {
                let kind = if ids::initial_namespace() { *kind } else { FileType::Fifo };
                mknodat(dir, path.as_str(), kind, Mode::from_raw_mode(0o600), rustix::fs::makedev(7, 200))
            }
            Self::Link(path, new) => linkat(dir, path.as_str(), dir, new.as_str(), AtFlags::empty()),
            Self::Rename(from, to) => renameat_with(dir, from.as_str(), dir, to.as_str(), RenameFlags::empty()),
            Self::Exchange(from, to) => renameat_with(dir, from.as_str(), dir, to.as_str(), RenameFlags::EXCHANGE),
            Self::Mode(path, mode) => {
                not_a_link(to, path)?;
                chmodat(dir, path.as_str(), Mode::from_raw_mode(*mode), AtFlags::empty())
            }
            Self::Owner(path, id) => {
                let (uid, gid) = (Uid::from_raw(ids::uid(*id)), Gid::from_raw(ids::gid(*id)));
                chownat(dir, path.as_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::Attribute(path, value) => {
                let kind = kind_of(to, path)?;
                if !matches!(kind, FileType::RegularFile | FileType::Directory) {
                    return Ok(());
                }
                fsetxattr(open(path, OFlags::RDONLY)?, "user.random", &[*value], XattrFlags::empty())
            }
        }
    }
}

fn kind_of(to: Writer<'_>, path: &str) -> Result<FileType, Errno> {
    let stat = rustix::fs::statat(to.root, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Opening a device or a fifo would be about that and not about the tree.
fn must_be_file(to: Writer<'_>, path: &str) -> Result<(), Errno> {
    match kind_of(to, path) {
        Ok(FileType::RegularFile) | Err(Errno::NOENT) => Ok(()),
        Ok(_) => Err(Errno::ISDIR),
        Err(errno) => Err(errno),
    }
}

fn not_a_link(to: Writer<'_>, path: &str) -> Result<(), Errno> {
    if kind_of(to, path)? == FileType::Symlink { Err(Errno::LOOP) } else { Ok(()) }
}

fn remove_tree(to: Writer<'_>, path: &str) -> Result<(), Errno> {
    if kind_of(to, path)? != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(to.root, path, flags, Mode::empty())?;
    let below = Tree::read(std::os::fd::AsFd::as_fd(&dir)).map_err(|_: Stop| Errno::IO)?;
    // In the reverse of the lexical order every entry comes before the directory that holds it.
    for (name, node) in below.nodes.iter().rev().filter(|(name, _)| !name.is_empty()) {
        let flags = if node.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&dir, name.as_os_str(), flags)?;
    }
    unlinkat(to.root, path, AtFlags::REMOVEDIR)
}
