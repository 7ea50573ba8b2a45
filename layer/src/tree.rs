//! A comparable snapshot of a directory tree: the judge of apply and diff, and what `system check` compares.
//!
//! It sees kind, mode with set-id bits, owner, nanosecond times, size, content, device numbers, link targets, which
//! names are one file, and extended attributes. It does not see holes, access and change times, and inode numbers.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};

use crate::archive::{Time, Xattr};
use crate::attributes;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::walk::{self, Below, Visit};

/// Everything a layer can carry, of every path below a root, and of the root under the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<Vec<u8>, Node>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    kind: FileType,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Time,
    content: Content,
    /// The first of the names that are this file, when there are several.
    file: Option<Vec<u8>>,
    xattrs: Vec<Xattr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    File(u64, Digest),
    Link(Vec<u8>),
    Device(u64),
    Nothing,
}

impl Tree {
    /// Reads the tree below `root`, with the content of every file.
    pub fn read(root: BorrowedFd<'_>) -> Result<Tree> {
        let stat = rustix::fs::fstat(root).map_err(|e| Error::io("read", b"", e))?;
        let mut nodes = BTreeMap::new();
        let mut links: HashMap<(u64, u64), Vec<Vec<u8>>> = HashMap::new();
        let top = Visit { dir: root, name: b".", path: b"", stat: &stat };
        nodes.insert(Vec::new(), Node::read(top)?);
        walk::walk(root, &mut |found| {
            nodes.insert(found.path.to_vec(), Node::read(found)?);
            if found.stat.st_nlink > 1 && found.kind() != FileType::Directory {
                links.entry((found.stat.st_dev, found.stat.st_ino)).or_default().push(found.path.to_vec());
            }
            Ok(Below::Enter)
        })?;
        for names in links.into_values().filter(|names| names.len() > 1) {
            let first = names.iter().min().cloned();
            for name in names {
                if let Some(node) = nodes.get_mut(&name) {
                    node.file.clone_from(&first);
                }
            }
        }
        Ok(Tree(nodes))
    }

    /// A digest of everything in the tree: equal trees have equal digests, on every machine.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (path, node) in &self.0 {
            // Paths are escaped, so no name can look like the end of a line.
            hasher.update(format!("{} {node}\n", path.escape_ascii()).as_bytes());
        }
        hasher.finish()
    }

    /// The paths, sorted by their bytes; the root comes first and is empty.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }

    /// The differences to `other`, two lines for each path that differs; empty when the trees are equal.
    pub fn diff(&self, other: &Tree) -> String {
        let mut out = String::new();
        let mut paths: Vec<&Vec<u8>> = self.0.keys().chain(other.0.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let (before, after) = (self.0.get(path), other.0.get(path));
            if before == after {
                continue;
            }
            for (sign, node) in [('-', before), ('+', after)] {
                let path = path.escape_ascii();
                let _ = match node {
                    Some(node) => writeln!(out, "{sign} /{path} {node}"),
                    None => writeln!(out, "{sign} /{path} (absent)"),
                };
            }
        }
        out
    }
}

impl Node {
    fn read(found: Visit<'_>) -> Result<Node> {
        let stat = found.stat;
        let content = match found.kind() {
            FileType::RegularFile => content(found)?,
            FileType::Symlink => Content::Link(
                rustix::fs::readlinkat(found.dir, found.name, Vec::new())
                    .map_err(|e| Error::io("read link", found.path, e))?
                    .into_bytes(),
            ),
            FileType::CharacterDevice | FileType::BlockDevice => Content::Device(stat.st_rdev),
            _ => Content::Nothing,
        };
        Ok(Node {
            kind: found.kind(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time::of(stat),
            content,
            file: None,
            xattrs: attributes::read(found.dir, found.name, found.path)?,
        })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node { kind, mode, uid, gid, mtime, .. } = self;
        write!(f, "{kind:?} {mode:04o} {uid}:{gid} {}.{:09}", mtime.seconds, mtime.nanoseconds)?;
        match &self.content {
            Content::File(size, digest) => write!(f, " {size} bytes {digest}")?,
            Content::Link(target) => write!(f, " -> {}", target.escape_ascii())?,
            Content::Device(number) => write!(f, " device {number:#x}")?,
            Content::Nothing => {}
        }
        if let Some(first) = &self.file {
            write!(f, " same file as {}", first.escape_ascii())?;
        }
        for (name, value) in &self.xattrs {
            write!(f, " {}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

fn content(found: Visit<'_>) -> Result<Content> {
    let failed = |e| Error::io("read", found.path, e);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::openat(found.dir, found.name, flags, Mode::empty()).map_err(failed)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(file.as_fd(), &mut buffer[..])).map_err(failed)? {
            0 => return Ok(Content::File(size, hasher.finish())),
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}
