//! The walk after the last entry: finds what no layer explains, what was inherited and is gone, and names that became one file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::compare::{self, Reader};
use super::model::{Dir, Model, Node, Origin, State};
use crate::apply::Whiteouts;
use crate::beneath;

/// Completes the differences.
pub(super) fn walk(model: Model<'_>, reader: Reader) -> BTreeMap<Vec<u8>, String> {
    let overlay = is_overlay(model.target.root) && model.target.merged.is_some_and(is_overlay);
    let mut walk = Walk { model, reader, overlay, links: HashMap::new() };
    let visible = walk.shows_below();
    walk.inherited_root();
    let mut ahead = vec![(Vec::new(), visible)];
    while let Some((path, visible)) = ahead.pop() {
        walk.directory(&path, visible, &mut ahead);
    }
    walk.linked();
    walk.parted();
    walk.model.wrong
}

/// A name that a file was found under, and the file's inode below where it is inherited.
#[derive(Debug)]
struct Name {
    path: Vec<u8>,
    below: Option<(u64, u64)>,
}

struct Walk<'a> {
    model: Model<'a>,
    reader: Reader,
    /// Both trees are overlays over the same directories.
    overlay: bool,
    /// Names by inode, of files that have several.
    links: HashMap<(u64, u64), Vec<Name>>,
}

impl Walk<'_> {
    fn shows_below(&self) -> bool {
        let hides =
            matches!(self.model.states.get(&b""[..]), Some(State { node: Node::Dir(Dir { hides: true, .. }), .. }));
        self.model.is_direct() && self.model.target.merged.is_some() && !hides
    }

    /// A root that no entry describes is what it was below.
    fn inherited_root(&mut self) {
        let explicit = matches!(
            self.model.states.get(&b""[..]),
            Some(State { node: Node::Dir(Dir { origin: Origin::Entry, .. }), .. })
        );
        let (true, false, Some(below)) = (self.model.is_direct(), explicit, self.model.target.merged) else { return };
        let open = |root| beneath::open_physical(root, b"", OFlags::RDONLY | OFlags::DIRECTORY);
        if let (Ok(below), Ok(root)) = (open(below), open(self.model.target.root))
            && let Some(wrong) = self.reader.pair(&below, &root, b"", b"")
        {
            self.model.wrong.insert(Vec::new(), wrong);
        }
    }

    fn directory(&mut self, path: &[u8], visible: bool, ahead: &mut Vec<(Vec<u8>, bool)>) {
        let open = |root| beneath::open_physical(root, path, OFlags::RDONLY | OFlags::DIRECTORY);
        let listed = open(self.model.target.root).and_then(|dir| beneath::names(&dir).map(|names| (dir, names)));
        let (dir, names) = match listed {
            Ok(listed) => listed,
            Err(errno) => return self.wrong(path, compare::unreadable(errno)),
        };
        self.mark(path, &dir);
        let below = self.model.target.merged.filter(|_| visible).and_then(|below| open(below).ok());
        let mut inherited: BTreeSet<Vec<u8>> =
            below.as_ref().and_then(|below| beneath::names(below).ok()).unwrap_or_default().into_iter().collect();
        for name in names {
            let full = beneath::join(path, &name);
            let stat = match rustix::fs::statat(&dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    self.wrong(&full, compare::unreadable(errno));
                    continue;
                }
            };
            let from_below = if inherited.remove(&name) { below.as_ref() } else { None };
            if let Some(enter) = self.found(&dir, &name, &full, &stat, from_below) {
                ahead.push((full, enter == Below::Shows));
            }
        }
        for name in inherited {
            let full = beneath::join(path, &name);
            let is_socket = below.as_ref().is_some_and(|below| is_socket(below, &name));
            if !self.model.states.contains_key(&full) && !is_socket {
                self.wrong(&full, "is missing".to_owned());
            }
        }
    }

    /// Judges a name; says whether to go on below it.
    fn found(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        full: &[u8],
        stat: &Stat,
        below: Option<&OwnedFd>,
    ) -> Option<Below> {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
            return None;
        }
        match self.model.states.get(full).map(|state| &state.node) {
            Some(Node::Dir(known)) => {
                let known = *known;
                if let (Origin::Below, Some(below), true) = (known.origin, below, self.model.is_direct())
                    && let Some(wrong) = self.reader.pair(below, dir, name, full)
                {
                    self.wrong(full, wrong);
                }
                is_dir.then_some(if below.is_some() && !known.hides { Below::Shows } else { Below::Hidden })
            }
            Some(Node::Deleted) => {
                if !self.model.is_overlay() {
                    self.wrong(full, "is there although its layer deletes it".to_owned());
                }
                None
            }
            Some(Node::Link(_) | Node::Other) => {
                self.note(full, stat, name, None);
                None
            }
            None => match below {
                Some(below) if is_dir && self.is_one_directory(below, name, stat) => None,
                Some(below) => {
                    if let Some(wrong) = self.reader.pair(below, dir, name, full) {
                        self.wrong(full, wrong);
                    }
                    self.note(full, stat, name, Some(below));
                    is_dir.then_some(Below::Shows)
                }
                None if self.is_excused(dir, name, full, stat) => is_dir.then_some(Below::Hidden),
                None => {
                    self.wrong(full, "does not belong there".to_owned());
                    None
                }
            },
        }
    }

    /// Whether a directory of an overlay is the very one of the overlay below it. A directory is that of the topmost layer
    /// that has it, so the layer on top has nothing in it.
    fn is_one_directory(&self, below: &OwnedFd, name: &[u8], stat: &Stat) -> bool {
        let identity = |s: &Stat| (s.st_ino, s.st_ctime, s.st_ctime_nsec, s.st_mtime, s.st_mtime_nsec, s.st_mode);
        self.overlay
            && rustix::fs::statat(below, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|below| identity(&below) == identity(stat))
    }

    /// What a container's writable layer has that became a layer, and that its archive leaves out because it changes
    /// nothing: a deletion of what is not there, and a copy of what lies below.
    fn is_excused(&mut self, dir: &OwnedFd, name: &[u8], full: &[u8], stat: &Stat) -> bool {
        if !self.model.is_overlay() {
            return false;
        }
        let parent = beneath::split(full).0;
        let below = self.model.target.merged.map(|below| open_dir(below, parent));
        if compare::is_whiteout(stat) {
            let there = |below: &OwnedFd| rustix::fs::statat(below, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            return !matches!(below, Some(Ok(below)) if there(&below));
        }
        matches!(below, Some(Ok(below)) if self.reader.pair(&below, dir, name, full).is_none())
    }

    /// Overlay's mark of a directory that hides what lies below.
    fn mark(&mut self, path: &[u8], dir: &OwnedFd) {
        let name = match self.model.target.whiteouts {
            Whiteouts::OverlayTrusted => "trusted.overlay",
            Whiteouts::OverlayUser => "user.overlay",
            Whiteouts::Direct | Whiteouts::OciFiles => return,
        };
        let expected =
            matches!(self.model.states.get(path), Some(State { node: Node::Dir(Dir { opaque: true, .. }), .. }));
        let mut value = [0; 2];
        let opaque = rustix::fs::fgetxattr(dir, format!("{name}.opaque"), &mut value[..])
            .is_ok_and(|length| value[..length] == *b"y");
        if expected && !opaque {
            self.wrong(path, "no longer hides what the layers below have in it".to_owned());
        }
        if opaque && !expected && !path.is_empty() {
            // The kernel marks every directory that it makes in a container. That hides something only by mistake.
            let below = self.model.target.merged.map(|below| open_dir(below, path).and_then(beneath::names));
            if matches!(below, Some(Ok(names)) if !names.is_empty()) {
                self.wrong(path, "hides what the layers below have in it".to_owned());
            }
        }
        let redirected = !matches!(
            rustix::fs::fgetxattr(dir, format!("{name}.redirect"), &mut [0u8; 4096][..]),
            Err(Errno::NODATA | Errno::OPNOTSUPP)
        );
        if redirected {
            self.wrong(path, "is redirected to another directory".to_owned());
        }
    }

    fn note(&mut self, full: &[u8], stat: &Stat, name: &[u8], below: Option<&OwnedFd>) {
        if stat.st_nlink < 2 || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return;
        }
        let below = below
            .and_then(|below| rustix::fs::statat(below, name, AtFlags::SYMLINK_NOFOLLOW).ok())
            .map(|stat| (stat.st_dev, stat.st_ino));
        let name = Name { path: full.to_vec(), below };
        self.links.entry((stat.st_dev, stat.st_ino)).or_default().push(name);
    }

    /// Names that are one file must be so by a layer, or by what lies below.
    fn linked(&mut self) {
        for names in std::mem::take(&mut self.links).into_values() {
            let [first, rest @ ..] = names.as_slice() else { continue };
            let mut groups: BTreeSet<u64> = self.model.groups.get(&first.path).copied().into_iter().collect();
            let mut inodes: BTreeSet<(u64, u64)> = first.below.into_iter().collect();
            let mut apart: Vec<&Name> = rest.iter().collect();
            loop {
                let before = apart.len();
                apart.retain(|name| {
                    let group = self.model.groups.get(&name.path);
                    let joined = group.is_some_and(|group| groups.contains(group))
                        || name.below.is_some_and(|inode| inodes.contains(&inode));
                    if joined {
                        groups.extend(group);
                        inodes.extend(name.below);
                    }
                    !joined
                });
                if apart.len() == before {
                    break;
                }
            }
            for name in apart {
                let what = format!("is the same file as `{}`, which its layer keeps apart", first.path.escape_ascii());
                self.model.wrong.entry(name.path.clone()).or_insert(what);
            }
        }
    }

    /// Names that the layers left in one file, and that are several here.
    fn parted(&mut self) {
        let mut groups: BTreeMap<u64, BTreeMap<Vec<u8>, (u64, u64)>> = BTreeMap::new();
        for (path, group) in &self.model.groups {
            // What is missing has been told.
            if let Some(inode) = compare::inode(&self.model, path) {
                groups.entry(*group).or_default().insert(path.clone(), inode);
            }
        }
        for names in groups.into_values() {
            let mut names = names.into_iter();
            let Some((first, inode)) = names.next() else { continue };
            for (name, _) in names.filter(|(_, other)| *other != inode) {
                let what = format!("is no longer the same file as `{}`", first.escape_ascii());
                // It explains whatever else differs.
                self.model.wrong.insert(name, what);
            }
        }
    }

    /// The first difference of a path is the one that is told.
    fn wrong(&mut self, path: &[u8], what: String) {
        self.model.wrong.entry(path.to_vec()).or_insert(what);
    }
}

/// Whether what lies below shows through a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Shows,
    Hidden,
}

/// Overlay's number in statfs(2), `OVERLAYFS_SUPER_MAGIC` of `linux/magic.h`.
fn is_overlay(root: std::os::fd::BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(root).is_ok_and(|found| found.f_type & 0xffff_ffff == 0x794c_7630)
}

fn open_dir(root: std::os::fd::BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    beneath::open_physical(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn is_socket(dir: &OwnedFd, name: &[u8]) -> bool {
    rustix::fs::statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}
