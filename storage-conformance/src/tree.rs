//! A directory tree as a value: everything a layer must carry, so that two trees can be compared and their differences named.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, lgetxattr, llistxattr, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::verdict::{Context, Outcome, Stop};

/// Everything below a directory, by path relative to it; the root is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<OsString, Node>,
}

/// One entry. Directory sizes, link counts of directories and access times are not part of a layer, so not of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    /// Bytes of a file, target of a symbolic link.
    pub(crate) content: Vec<u8>,
    /// Numbers of a device.
    pub(crate) device: u64,
    pub(crate) xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first path of the same inode, where there is another.
    pub(crate) same_as: Option<OsString>,
}

impl Tree {
    /// Reads the tree below `root`, which may be a detached mount (whose descriptor is `O_PATH`).
    pub(crate) fn read(root: BorrowedFd<'_>) -> Outcome<Self> {
        let mut reading = Reading { tree: Self::default(), inodes: BTreeMap::new() };
        let stat = statat(root, "", AtFlags::EMPTY_PATH).doing(|| "stat the root".to_owned())?;
        reading.add(root, OsStr::new("."), OsString::new(), &stat)?;
        reading.descend(root, OsStr::new("."), &OsString::new())?;
        Ok(reading.finish())
    }

    /// A failure naming the first differences, unless both are equal.
    pub(crate) fn must_equal(&self, expected: &Self, what: &str) -> Outcome {
        let differences = self.differences(expected);
        if differences.is_empty() {
            return Ok(());
        }
        let shown: Vec<_> = differences.iter().take(5).map(String::as_str).collect();
        Err(Stop::Fail(format!("{what}: {} differences: {}", differences.len(), shown.join("; "))))
    }

    /// The same without the modification times of directories, which change with every name in them.
    pub(crate) fn without_directory_times(mut self) -> Self {
        for node in self.nodes.values_mut().filter(|node| node.is_directory()) {
            node.mtime = (0, 0);
        }
        self
    }

    /// The same without any modification time.
    pub(crate) fn without_times(mut self) -> Self {
        self.nodes.values_mut().for_each(|node| node.mtime = (0, 0));
        self
    }

    fn differences(&self, expected: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, node) in &expected.nodes {
            match self.nodes.get(path) {
                None => found.push(format!("{path:?} is missing")),
                Some(own) if own != node => found.push(format!("{path:?} is {own} and should be {node}")),
                Some(_) => {}
            }
        }
        found.extend(
            self.nodes
                .keys()
                .filter(|path| !expected.nodes.contains_key(*path))
                .map(|path| format!("{path:?} should not exist")),
        );
        found
    }
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, owner, mtime, content, device, xattrs, same_as } = self;
        write!(
            f,
            "mode {mode:o} owner {}:{} mtime {}.{:09} {} bytes",
            owner.0,
            owner.1,
            mtime.0,
            mtime.1,
            content.len()
        )?;
        if content.len() <= 32 {
            write!(f, " `{}`", content.escape_ascii())?;
        }
        write!(f, " device {device:#x} xattrs {xattrs:?} same as {same_as:?}")
    }
}

struct Reading {
    tree: Tree,
    inodes: BTreeMap<(u64, u64), OsString>,
}

impl Reading {
    /// The only name of a file that the tree shows is not the same as another: the link count of an overlay's file still
    /// counts a name that a whiteout hides.
    fn finish(mut self) -> Tree {
        let mut names: BTreeMap<OsString, usize> = BTreeMap::new();
        for first in self.tree.nodes.values().filter_map(|node| node.same_as.as_ref()) {
            *names.entry(first.clone()).or_default() += 1;
        }
        for node in self.tree.nodes.values_mut() {
            if node.same_as.as_ref().is_some_and(|first| names.get(first) == Some(&1)) {
                node.same_as = None;
            }
        }
        self.tree
    }

    fn descend(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &OsStr) -> Outcome {
        let dir = openat(
            parent,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
        .doing(|| format!("open the directory {path:?}"))?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).doing(|| format!("read the directory {path:?}"))? {
            let name = entry.doing(|| format!("read the directory {path:?}"))?.file_name().to_bytes().to_owned();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        for name in names {
            let stat = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).doing(|| format!("stat {path:?}/{name:?}"))?;
            let below = join(path, &name);
            self.add(dir.as_fd(), &name, below.clone(), &stat)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.descend(dir.as_fd(), &name, &below)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, dir: BorrowedFd<'_>, name: &OsStr, path: OsString, stat: &Stat) -> Outcome {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let content = match kind {
            FileType::RegularFile => read_all(dir, name)?,
            FileType::Symlink => {
                readlinkat(dir, name, Vec::new()).doing(|| format!("read the link {path:?}"))?.into_bytes()
            }
            _ => Vec::new(),
        };
        let mut same_as = None;
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let first = self.inodes.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.clone());
            same_as = Some(first.clone());
        }
        let node = Node {
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
            content,
            device: if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) { stat.st_rdev } else { 0 },
            xattrs: read_xattrs(dir, name)?,
            same_as,
        };
        self.tree.nodes.insert(path, node);
        Ok(())
    }
}

/// Joins a relative path and a name.
pub(crate) fn join(path: &OsStr, name: &OsStr) -> OsString {
    let mut joined = path.to_owned();
    if !joined.is_empty() {
        joined.push("/");
    }
    joined.push(name);
    joined
}

/// The bytes of a file.
pub(crate) fn read_all(dir: BorrowedFd<'_>, name: &OsStr) -> Outcome<Vec<u8>> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .doing(|| format!("open {name:?}"))?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match rustix::io::read(&file, &mut buffer).doing(|| format!("read {name:?}"))? {
            0 => return Ok(bytes),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Extended attributes, without those that belong to the mechanism or the machine and not to the content.
fn read_xattrs(dir: BorrowedFd<'_>, name: &OsStr) -> Outcome<BTreeMap<OsString, Vec<u8>>> {
    // There is no listxattrat before Linux 6.13; the name below the descriptor's /proc entry is the same file.
    let path = join(OsStr::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())), name);
    let mut names = vec![0; 1 << 16];
    let length = match llistxattr(&path, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno).doing(|| format!("list the attributes of {name:?}")),
    };
    let mut found = BTreeMap::new();
    for attribute in names[..length].split(|&byte| byte == 0).filter(|attribute| !attribute.is_empty()) {
        let foreign: [&[u8]; 4] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux", b"btrfs."];
        if foreign.iter().any(|prefix| attribute.starts_with(prefix)) {
            continue;
        }
        let attribute = OsStr::from_bytes(attribute);
        let mut value = vec![0; 1 << 16];
        let length = lgetxattr(&path, attribute, &mut value[..]).doing(|| format!("read {attribute:?} of {name:?}"))?;
        value.truncate(length);
        found.insert(attribute.to_owned(), value);
    }
    Ok(found)
}
