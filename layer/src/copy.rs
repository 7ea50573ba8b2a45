//! Copies files and directory trees from below one root to below another: what `cp` and `COPY` are made of.
//!
//! Content goes by reflink where the file system can, else inside the kernel, else through a buffer. Owner, mode, times,
//! attributes, holes and hard links are kept. Neither root is ever left, whoever changes what is in them meanwhile
//! (CVE-2018-15664, CVE-2019-10152): every path is resolved by the kernel inside its root.

mod changes;
mod node;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

pub use self::changes::copy_changes;
use self::node::{Name, Overrides, Ways};
use crate::attributes;
use crate::beneath::{self, NewDir};
use crate::error::{Error, Result};
use crate::walk::{self, Below, Visit};

/// How many symbolic links a source path may lead through at its end.
const LINKS_MAX: u32 = 40;

/// From an owner and group to an owner and group.
pub type Owners<'a> = dyn Fn((u32, u32)) -> (u32, u32) + Sync + 'a;

/// How a copy differs from its source.
#[derive(Clone, Default)]
pub struct CopyOptions<'a> {
    /// The owner and group everything gets; without it the source's are kept.
    pub owner: Option<(u32, u32)>,
    /// Who an owner and group of the source are at the target, where a namespace lies between the two.
    pub owners: Option<&'a Owners<'a>>,
    /// The mode (permission and set-id bits) everything but symbolic links gets; without it the source's are kept.
    pub mode: Option<u32>,
    /// Whether a source path that is itself a symbolic link is followed (inside the source root).
    pub follow: bool,
    /// Paths relative to the source path for which this returns true are left out, directories with all they hold.
    pub exclude: Option<&'a (dyn Fn(&Path) -> bool + Sync)>,
}

impl std::fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOptions")
            .field("owner", &self.owner)
            .field("mode", &self.mode)
            .field("follow", &self.follow)
            .finish_non_exhaustive()
    }
}

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many files, directories and other nodes.
    pub entries: u64,
    /// How many bytes of content.
    pub bytes: u64,
}

/// Copies `src_path` below `src` to `dst_path` below `dst`: the last component of `dst_path` names the copy.
///
/// A directory is merged into an existing one, which keeps its own owner and mode at the top and takes over the source's
/// further down; at the top it may also be a symbolic link to a directory. Any other file replaces what is there, but a
/// directory and something else never replace each other. Missing parents are created (0755, owned as `options.owner`
/// says, else by root). Sockets are left out.
pub fn copy_into(
    src: BorrowedFd<'_>,
    src_path: &Path,
    dst: BorrowedFd<'_>,
    dst_path: &Path,
    options: &CopyOptions<'_>,
) -> Result<Copied> {
    let (holder, name) = source(src, src_path, options.follow)?;
    let shown = src_path.as_os_str().as_bytes();
    let stat =
        rustix::fs::statat(&holder, &name[..], AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io("read", shown, e))?;
    let overrides = Overrides { owner: options.owner, owners: options.owners, mode: options.mode };
    let from = Name::new(holder.as_fd(), &name);
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let parent_owner = overrides.owner_of((0, 0));
    let new = NewDir { mode: 0o755, uid: parent_owner.0, gid: parent_owner.1 };
    if !is_dir {
        let Some(dst_name) = dst_path.file_name() else {
            return Err(Error::refused(shown, "a file cannot replace the root"));
        };
        let parent = beneath::mkdir_all(dst, dst_path.parent().unwrap_or(Path::new("")), new)?;
        let to = Name::in_any(parent.as_fd(), dst_name.as_bytes());
        make_room(to, dst_path.as_os_str().as_bytes())?;
        let bytes = node::copy(from, to, overrides, &mut Ways::default(), shown)?;
        return Ok(Copied { entries: 1, bytes });
    }
    let source = beneath::open_child_dir(&holder, &name).map_err(|e| Error::io("open directory", shown, e))?;
    let (top, made) = top(dst, dst_path, new)?;
    let mut copy = Copy {
        top: top.as_fd(),
        options,
        overrides,
        ways: Ways::default(),
        links: HashMap::new(),
        dirs: Vec::new(),
        parent: None,
        copied: Copied { entries: 1, bytes: 0 },
    };
    walk::walk(source.as_fd(), &mut |found| copy.visit(found))?;
    copy.finish(source.as_fd())?;
    if made {
        let from = Name::new(source.as_fd(), b".");
        node::dress(from, &stat, top.as_fd(), overrides, shown)?;
    }
    Ok(copy.copied)
}

/// Copies one file that is no directory to the same name in another directory, as it is.
pub(crate) fn raise(below: BorrowedFd<'_>, holder: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<u64> {
    let (from, to) = (Name::new(below, name), Name::in_any(holder, name));
    node::copy(from, to, Overrides::default(), &mut Ways::default(), path)
}

/// A directory tree being copied.
struct Copy<'a> {
    top: BorrowedFd<'a>,
    options: &'a CopyOptions<'a>,
    overrides: Overrides<'a>,
    ways: Ways,
    /// Where a file with several names was copied to first.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Directories, whose owner, mode and times are set when nothing more is put into them.
    dirs: Vec<(Vec<u8>, Stat)>,
    /// The directory that was copied into last, and whether what is created there takes over an access list.
    parent: Option<(Vec<u8>, OwnedFd, bool)>,
    copied: Copied,
}

impl Copy<'_> {
    fn visit(&mut self, found: Visit<'_>) -> Result<Below> {
        if self.options.exclude.is_some_and(|exclude| exclude(&beneath::path_of(found.path))) {
            return Ok(Below::Skip);
        }
        let kind = found.kind();
        if kind == FileType::Socket {
            return Ok(Below::Skip);
        }
        let (parent_path, name) = beneath::split(found.path);
        if self.parent.as_ref().is_none_or(|(open, ..)| open != parent_path) {
            let dir = beneath::open_physical(self.top, parent_path, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|e| Error::io("open directory", parent_path, e))?;
            let inherits = attributes::has_default_acl(dir.as_fd());
            self.parent = Some((parent_path.to_vec(), dir, inherits));
        }
        let Some((_, parent, inherits)) = &self.parent else { return Ok(Below::Skip) };
        let to = Name { dir: parent.as_fd(), name, inherits: *inherits };
        self.copied.entries += 1;
        if kind == FileType::Directory {
            make_dir(to, found.path)?;
            self.dirs.push((found.path.to_vec(), *found.stat));
            return Ok(Below::Enter);
        }
        make_room(to, found.path)?;
        let inode = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                link(self.top, first, to, found.path)?;
                return Ok(Below::Skip);
            }
            self.links.insert(inode, found.path.to_vec());
        }
        let from = Name::new(found.dir, found.name);
        self.copied.bytes += node::copy(from, to, self.overrides, &mut self.ways, found.path)?;
        Ok(Below::Skip)
    }

    /// Gives the directories what their sources have, the deepest first.
    fn finish(&mut self, source: BorrowedFd<'_>) -> Result<()> {
        for (path, stat) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let failed = |e| Error::io("open directory", &path, e);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let from = match beneath::open_physical(source, &path, flags) {
                Ok(from) => from,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(failed(e)),
            };
            let to = beneath::open_physical(self.top, &path, flags).map_err(failed)?;
            node::dress(Name::new(from.as_fd(), b"."), &stat, to.as_fd(), self.overrides, &path)?;
        }
        Ok(())
    }
}

/// The directory a source is in, and its name there.
fn source(root: BorrowedFd<'_>, path: &Path, follow: bool) -> Result<(OwnedFd, Vec<u8>)> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        // The root, or a path that ends in `..`: a directory in any case.
        if path.file_name().is_none() {
            return Ok((beneath::open_dir(root, &path)?, b".".to_vec()));
        }
        let (dir, name) = beneath::open_parent(root, &path)?;
        let bytes = path.as_os_str().as_bytes();
        let stat =
            rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io("read", bytes, e))?;
        if !follow || FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok((dir, name.as_bytes().to_vec()));
        }
        let link = rustix::fs::readlinkat(&dir, &name, Vec::new()).map_err(|e| Error::io("read link", bytes, e))?;
        // Not resolved here: the kernel does that, inside the root, when the new path is opened.
        path = path.parent().unwrap_or(Path::new("")).join(beneath::path_of(link.as_bytes()));
    }
    Err(Error::io("resolve", path.as_os_str().as_bytes(), Errno::LOOP))
}

/// Opens the directory a tree is copied into, and tells whether it had to be made.
fn top(root: BorrowedFd<'_>, path: &Path, new: NewDir) -> Result<(OwnedFd, bool)> {
    match beneath::open_dir(root, path) {
        Ok(dir) => return Ok((dir, false)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(Error::refused(path.as_os_str().as_bytes(), "a directory cannot replace something else"));
        }
        Err(e) => return Err(e),
    }
    Ok((beneath::mkdir_all(root, path, new)?, true))
}

fn make_dir(to: Name<'_>, path: &[u8]) -> Result<()> {
    match rustix::fs::mkdirat(to.dir, to.name, Mode::RWXU) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(to.dir, to.name, AtFlags::SYMLINK_NOFOLLOW);
            match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                Ok(FileType::Directory) => Ok(()),
                Ok(_) => Err(Error::refused(path, "a directory cannot replace something else")),
                Err(e) => Err(Error::io("read", path, e)),
            }
        }
        Err(e) => Err(Error::io("create directory", path, e)),
    }
}

/// Removes a file that is to be replaced.
fn make_room(to: Name<'_>, path: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(to.dir, to.name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(Error::refused(path, "a file cannot replace a directory")),
        Err(e) => Err(Error::io("replace", path, e)),
    }
}

fn link(top: BorrowedFd<'_>, first: &[u8], to: Name<'_>, path: &[u8]) -> Result<()> {
    let (parent, name) = beneath::split(first);
    beneath::open_physical(top, parent, OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(|dir| rustix::fs::linkat(&dir, name, to.dir, to.name, AtFlags::empty()))
        .map_err(|e| Error::io("link", path, e))
}
