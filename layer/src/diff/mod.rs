//! Writes archives: a layer from its changes, or a whole tree. The same tree gives the same bytes, everywhere.
//!
//! A layer is made independent of what lies below: the directories that lead to a change come along with their owner
//! and mode, and a hard link never points out of its layer. Overlay's own attributes stay behind.

mod node;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use self::node::Nodes;
use crate::archive::Entry;
use crate::beneath;
use crate::changes::{Change, ChangeKind};
use crate::copy::Owners;
use crate::error::{Error, Result};
use crate::walk::{self, Below};

/// Headers are gathered into pieces of this size; content passes by.
const BUFFER: usize = 64 * 1024;

/// What was written into an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerStats {
    /// How many entries, whiteouts included.
    pub entries: u64,
    /// How many bytes of file content.
    pub bytes: u64,
    /// How many bytes the archive has.
    pub size: u64,
    /// Sockets, which no archive can hold and which were left out.
    pub sockets: u64,
}

/// Writes the layer that `changes` describe; their content is read from `upper`.
///
/// `changes` may come in any order and may repeat a path. The bytes depend on nothing but the changes and what `upper`
/// holds, which may be a merged view or an overlay upper directory. What vanished from `upper` meanwhile becomes a
/// deletion.
pub fn write_layer(changes: &[Change], upper: BorrowedFd<'_>, out: impl Write) -> Result<LayerStats> {
    let plan = plan(changes);
    let mut nodes = Nodes::new(BufWriter::with_capacity(BUFFER, out), None);
    let mut parent: Option<(&Path, OwnedFd)> = None;
    for (path, steps) in plan {
        let bytes = path.as_os_str().as_bytes();
        let (dir_path, name) = (path.parent().unwrap_or(Path::new("")), beneath::split(bytes).1);
        if steps.delete {
            nodes.mark(&whiteout(dir_path, name))?;
        }
        if !steps.write {
            continue;
        }
        if parent.as_ref().is_none_or(|(open, _)| *open != dir_path) {
            let dir =
                beneath::open_physical(upper, dir_path.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
            parent = match dir {
                Ok(dir) => Some((dir_path, dir)),
                Err(Errno::NOENT | Errno::NOTDIR) => None,
                Err(e) => return Err(Error::io("open directory", bytes, e)),
            };
        }
        let written = match &parent {
            Some((_, dir)) => nodes.write(dir.as_fd(), name, bytes, bytes)?,
            None => false,
        };
        if !written && steps.existed && !steps.delete {
            nodes.mark(&whiteout(dir_path, name))?;
        }
        if steps.hide && written {
            nodes.mark(&beneath::join(bytes, b".wh..wh..opq"))?;
        }
    }
    nodes.finish()
}

/// Writes everything below `root`, names relative to it and without an entry for the root itself. Where a namespace lies between
/// the tree and the archive, `owners` tells who an owner of the one is in the other.
pub fn write_tree(root: BorrowedFd<'_>, owners: Option<&Owners<'_>>, out: impl Write) -> Result<LayerStats> {
    let mut nodes = Nodes::new(BufWriter::with_capacity(BUFFER, out), owners);
    write_below(root, b"", &mut nodes)?;
    nodes.finish()
}

/// Writes `path` below `root` and everything under it, the entries named `name` and `name/…`, as [`write_tree`] does.
///
/// The path is resolved inside the root; when its last component is a symbolic link, the link itself is written.
pub fn write_subtree(
    root: BorrowedFd<'_>,
    path: &Path,
    name: &Path,
    owners: Option<&Owners<'_>>,
    out: impl Write,
) -> Result<LayerStats> {
    let (name, bytes) = (name.as_os_str().as_bytes(), path.as_os_str().as_bytes());
    let mut nodes = Nodes::new(BufWriter::with_capacity(BUFFER, out), owners);
    let (parent, base) = match path.file_name() {
        Some(_) => {
            let (parent, base) = beneath::open_parent(root, path)?;
            (parent, base.as_bytes().to_vec())
        }
        None => (beneath::open_dir(root, path)?, b".".to_vec()),
    };
    let stat =
        rustix::fs::statat(&parent, &base[..], AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io("read", bytes, e))?;
    nodes.write(parent.as_fd(), &base, bytes, name)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let dir = beneath::open_child_dir(&parent, &base).map_err(|e| Error::io("open directory", bytes, e))?;
        write_below(dir.as_fd(), name, &mut nodes)?;
    }
    nodes.finish()
}

fn write_below(root: BorrowedFd<'_>, prefix: &[u8], nodes: &mut Nodes<'_, impl Write>) -> Result<()> {
    walk::walk(root, &mut |found| {
        nodes.write(found.dir, found.name, found.path, &beneath::join(prefix, found.path))?;
        Ok(Below::Enter)
    })
}

/// What a path of a layer comes to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Steps {
    /// It is written as `upper` has it.
    pub write: bool,
    /// It is deleted from the layers below, before it is written.
    pub delete: bool,
    /// It hides what the layers below have in it.
    pub hide: bool,
    /// The layers below have it.
    existed: bool,
}

/// Every path of the layer in order: parents before what they hold. Paths compare by components, so `a/b` comes right
/// after `a` and before `a.b`.
pub(crate) fn plan(changes: &[Change]) -> BTreeMap<&Path, Steps> {
    let mut plan: BTreeMap<&Path, Steps> = BTreeMap::new();
    for change in changes {
        let steps = plan.entry(&change.path).or_default();
        match change.kind {
            ChangeKind::Added => steps.write = true,
            ChangeKind::Modified => (steps.write, steps.existed) = (true, true),
            ChangeKind::Deleted => steps.delete = true,
            ChangeKind::Opaque => (steps.write, steps.hide) = (true, true),
        }
        for parent in change.path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            let steps = plan.entry(parent).or_default();
            if steps.write {
                break;
            }
            steps.write = true;
        }
    }
    plan
}

fn whiteout(dir: &Path, name: &[u8]) -> Vec<u8> {
    beneath::join(dir.as_os_str().as_bytes(), &[b".wh.", name].concat())
}

/// A whiteout's entry: an empty file of which only the name matters, and so with nothing else to differ in.
fn mark(path: &[u8]) -> Entry {
    Entry { path: path.to_vec(), ..Entry::default() }
}
