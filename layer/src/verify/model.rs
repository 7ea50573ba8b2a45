//! What must be there, as far as it cannot be compared at once: which paths the layers explain, and how names lead to them.
//!
//! Names are resolved by this model and never by the directory under comparison, which may be damaged.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, OFlags};

use super::compare::{self, Reader};
use crate::apply::{Target, Whiteouts};
use crate::archive::Entry;
use crate::beneath;

/// How many symbolic links one path may lead through: the kernel's own number.
const LINKS_MAX: u32 = 40;

/// What a path must be.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Dir(Dir),
    /// A symbolic link, and where it points.
    Link(Vec<u8>),
    /// Anything else.
    Other,
    /// It must not be there; in an overlay's layer it must be a whiteout.
    Deleted,
}

/// What is known of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dir {
    pub origin: Origin,
    /// Nothing of what lies below the layers shows through.
    pub hides: bool,
    /// It carries overlay's mark for that.
    pub opaque: bool,
}

impl Dir {
    pub fn new(origin: Origin) -> Dir {
        Dir { origin, hides: false, opaque: false }
    }
}

/// Where a directory's metadata comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From an entry of its own.
    Entry,
    /// It had to be made for what is in it.
    Made,
    /// From what lies below.
    Below,
}

/// What becomes of directories that nothing explains yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parents {
    /// They are made.
    Make,
    /// Then there is no such place.
    Stop,
}

#[derive(Debug)]
pub(super) struct State {
    pub node: Node,
    /// The last layer that had to do with it; 0 for none that is to be kept.
    layer: u32,
    /// What its entry says, where something else was found.
    pub stated: Option<Rc<Stated>>,
}

/// An entry whose name is something else in the directory under comparison. Later names of the same file have to be compared
/// with it, because a later layer may have replaced or deleted this one alone.
#[derive(Debug)]
pub(super) struct Stated {
    pub entry: Entry,
    /// Of the content as the archive stores it.
    pub sum: u32,
}

/// A directory that entries go into.
#[derive(Debug)]
pub(super) struct Place {
    /// Its path through no symbolic link.
    pub path: Vec<u8>,
    /// The directory under comparison; nothing when it is missing there.
    pub fd: Option<OwnedFd>,
}

#[derive(Debug)]
pub(super) struct Model<'a> {
    pub target: Target<'a>,
    pub states: BTreeMap<Vec<u8>, State>,
    /// Names that are one file, by number.
    pub groups: HashMap<Vec<u8>, u64>,
    next_group: u64,
    /// Differences found so far. An entry that is replaced by a later one takes its difference with it.
    pub wrong: BTreeMap<Vec<u8>, String>,
    layer: u32,
    last: Option<(Vec<u8>, Rc<Place>)>,
}

impl<'a> Model<'a> {
    pub fn new(target: Target<'a>) -> Model<'a> {
        let root = State { node: Node::Dir(Dir::new(Origin::Below)), layer: 0, stated: None };
        Model {
            target,
            states: BTreeMap::from([(Vec::new(), root)]),
            groups: HashMap::new(),
            next_group: 0,
            wrong: BTreeMap::new(),
            layer: 0,
            last: None,
        }
    }

    pub fn next_layer(&mut self) {
        self.layer += 1;
        self.last = None;
    }

    pub fn is_overlay(&self) -> bool {
        self.target.whiteouts.is_overlay()
    }

    /// Whether the target shows what lies below.
    pub fn is_direct(&self) -> bool {
        self.target.whiteouts == Whiteouts::Direct
    }

    /// Expects something at a physical path, in place of whatever was expected there.
    pub fn put(&mut self, path: &[u8], node: Node, wrong: Option<String>) {
        let node = match (node, self.states.get(path).map(|state| &state.node)) {
            (Node::Dir(new), Some(Node::Dir(old))) => {
                Node::Dir(Dir { origin: new.origin, hides: old.hides, opaque: old.opaque })
            }
            (Node::Dir(new), Some(Node::Deleted)) => Node::Dir(Dir { hides: true, opaque: self.is_overlay(), ..new }),
            (Node::Dir(new), Some(_)) => Node::Dir(Dir { hides: true, ..new }),
            (Node::Dir(new), None) => {
                Node::Dir(Dir { hides: self.below(path).is_none_or(|kind| kind != FileType::Directory), ..new })
            }
            (node, _) => {
                self.forget_below(path);
                self.last = None;
                node
            }
        };
        self.groups.remove(path);
        match wrong {
            Some(wrong) => drop(self.wrong.insert(path.to_vec(), wrong)),
            None => drop(self.wrong.remove(path)),
        }
        self.states.insert(path.to_vec(), State { node, layer: self.layer, stated: None });
    }

    /// Remembers what an entry says that was put at a path where something else was found.
    pub fn state(&mut self, path: &[u8], stated: Option<Rc<Stated>>) {
        if let Some(state) = self.states.get_mut(path) {
            state.stated = stated;
        }
    }

    /// States that two names are one file.
    pub fn join(&mut self, one: &[u8], other: &[u8]) {
        // Counted up and not by how many names there are: names leave their groups, and a number must not come back.
        let group = *self.groups.entry(one.to_vec()).or_insert(self.next_group);
        self.next_group += 1;
        self.groups.insert(other.to_vec(), group);
    }

    /// The directory that a name leads to, through the symbolic links that are expected on the way.
    pub fn place(&mut self, path: &[u8], parents: Parents) -> Option<Rc<Place>> {
        if let Some((last, place)) = &self.last
            && last == path
        {
            return Some(Rc::clone(place));
        }
        let resolved = self.resolve(path, parents)?;
        let fd = beneath::open_physical(self.target.root, &resolved, OFlags::RDONLY | OFlags::DIRECTORY).ok();
        let place = Rc::new(Place { path: resolved, fd });
        if parents == Parents::Make {
            self.last = Some((path.to_vec(), Rc::clone(&place)));
        }
        Some(place)
    }

    /// Expects that `name` in `parent` is deleted.
    pub fn delete(&mut self, parent: &[u8], name: &[u8]) {
        let parents = if self.is_overlay() { Parents::Make } else { Parents::Stop };
        let Some(place) = self.place(parent, parents) else { return };
        let full = beneath::join(&place.path, name);
        let current = self.layer;
        let overlay = self.is_overlay();
        match self.states.get_mut(&full) {
            Some(State { node: Node::Dir(dir), .. }) if overlay => dir.opaque = true,
            Some(State { node: Node::Dir(_), layer, .. }) if *layer == current => self.clean(&full),
            Some(State { node: Node::Dir(_) | Node::Deleted, .. }) | None => self.expect_deleted(&place, name, &full),
            Some(State { layer, .. }) if *layer == current => {}
            Some(_) => self.expect_deleted(&place, name, &full),
        }
    }

    /// Expects that a directory hides what lies below.
    pub fn make_opaque(&mut self, path: &[u8]) {
        if self.is_direct() {
            if let Some(place) = self.place(path, Parents::Stop) {
                self.clean(&place.path.clone());
            }
            return;
        }
        let Some(place) = self.place(path, Parents::Make) else { return };
        if let Some(State { node: Node::Dir(dir), .. }) = self.states.get_mut(&place.path) {
            dir.opaque = true;
        }
        // Overlay does not look at this mark on a layer's root: each name has its own whiteout.
        if let (true, Some(below)) = (place.path.is_empty(), self.target.merged) {
            let below = beneath::open_physical(below, b"", OFlags::RDONLY | OFlags::DIRECTORY);
            for name in below.and_then(beneath::names).unwrap_or_default() {
                self.delete(b"", &name);
            }
        }
    }

    /// What a hard link points to: its physical path and what it must be. A file of the layers below is expected to have
    /// been brought up into a target that does not show them.
    pub fn link_target(&mut self, target: &[u8], reader: &mut Reader) -> Option<(Vec<u8>, Node)> {
        let (parent, name) = beneath::split(target);
        if let Some(place) = self.place(parent, Parents::Stop) {
            let full = beneath::join(&place.path, name);
            match self.states.get(&full).map(|state| &state.node) {
                Some(Node::Dir(_)) => return None,
                Some(node @ (Node::Link(_) | Node::Other)) => return Some((full.clone(), node.clone())),
                Some(Node::Deleted) => {}
                None if self.is_direct() => {
                    return match self.below(&full)? {
                        FileType::Directory => None,
                        FileType::Symlink => Some((full.clone(), Node::Link(self.link_below(&full)?))),
                        _ => Some((full, Node::Other)),
                    };
                }
                None => {}
            }
        }
        let below = beneath::open_dir(self.target.merged?, &beneath::path_of(parent)).ok()?;
        let stat = rustix::fs::statat(&below, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let node = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return None,
            FileType::Symlink => Node::Link(rustix::fs::readlinkat(&below, name, Vec::new()).ok()?.into_bytes()),
            _ => Node::Other,
        };
        let place = self.place(parent, Parents::Make)?;
        let full = beneath::join(&place.path, name);
        let wrong = place.fd.as_ref().and_then(|dir| reader.pair(&below, dir, name, &full));
        self.put(&full, node.clone(), wrong);
        Some((full, node))
    }

    /// What lies below at a physical path, where nothing that is expected hides it.
    pub fn below(&self, path: &[u8]) -> Option<FileType> {
        let below = self.target.merged?;
        if self.is_direct() && !self.shows_below(beneath::split(path).0) {
            return None;
        }
        let (parent, name) = beneath::split(path);
        kind_of(below, parent, name)
    }

    fn shows_below(&self, path: &[u8]) -> bool {
        let mut path = path;
        loop {
            match self.states.get(path).map(|state| &state.node) {
                Some(Node::Dir(Dir { hides: true, .. }) | Node::Deleted | Node::Other | Node::Link(_)) => return false,
                Some(Node::Dir(_)) | None => {}
            }
            if path.is_empty() {
                return true;
            }
            path = beneath::split(path).0;
        }
    }

    fn resolve(&mut self, path: &[u8], parents: Parents) -> Option<Vec<u8>> {
        let mut ahead = components(path);
        let mut here = Vec::new();
        let mut links = 0;
        self.touch(&here, parents);
        while let Some(name) = ahead.pop() {
            if name == b".." {
                here = beneath::split(&here).0.to_vec();
                continue;
            }
            let full = beneath::join(&here, &name);
            let link = match self.states.get(&full).map(|state| &state.node) {
                Some(Node::Dir(_)) => None,
                Some(Node::Link(link)) => Some(link.clone()),
                Some(Node::Other | Node::Deleted) if parents == Parents::Stop => return None,
                Some(Node::Other | Node::Deleted) => {
                    self.make(&full, Origin::Made);
                    None
                }
                None => match self.below(&full) {
                    Some(FileType::Symlink) if self.is_direct() || parents == Parents::Make => {
                        Some(self.link_below(&full)?)
                    }
                    Some(FileType::Directory) if self.is_direct() => None,
                    _ if parents == Parents::Stop => return None,
                    Some(FileType::Directory) => {
                        self.make(&full, Origin::Below);
                        None
                    }
                    _ => {
                        self.make(&full, Origin::Made);
                        None
                    }
                },
            };
            let Some(link) = link else {
                self.touch(&full, parents);
                here = full;
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            if link.first() == Some(&b'/') {
                here.clear();
            }
            ahead.append(&mut components(&link));
        }
        Some(here)
    }

    /// Expects a directory that no entry describes.
    fn make(&mut self, path: &[u8], origin: Origin) {
        self.put(path, Node::Dir(Dir::new(origin)), None);
        if let Some(wrong) = compare::made(self, path, origin) {
            self.wrong.insert(path.to_vec(), wrong);
        }
    }

    /// Notes that the current layer has something in a directory.
    fn touch(&mut self, path: &[u8], parents: Parents) {
        if parents == Parents::Stop {
            return;
        }
        let current = self.layer;
        let new = || State { node: Node::Dir(Dir::new(Origin::Below)), layer: current, stated: None };
        self.states.entry(path.to_vec()).or_insert_with(new).layer = current;
    }

    fn expect_deleted(&mut self, place: &Place, name: &[u8], full: &[u8]) {
        let wrong = match (&place.fd, self.is_overlay()) {
            (Some(dir), true) => compare::whiteout(dir, name),
            _ => None,
        };
        self.put(full, Node::Deleted, wrong);
        if let Some(state) = self.states.get_mut(full) {
            state.layer = 0;
        }
    }

    /// Expects a directory to hold nothing but what the current layer brings.
    fn clean(&mut self, path: &[u8]) {
        let current = self.layer;
        for (_, state) in self.states.range_mut(range_below(path)) {
            if let (true, Node::Dir(dir)) = (state.layer == current, &mut state.node) {
                dir.hides = true;
            }
        }
        let gone: Vec<Vec<u8>> = self
            .states
            .range(range_below(path))
            .filter(|(_, state)| state.layer != current)
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.states.remove(&path);
            self.wrong.remove(&path);
            self.groups.remove(&path);
        }
        match self.states.get_mut(path) {
            Some(State { node: Node::Dir(dir), .. }) => dir.hides = true,
            Some(_) => {}
            None => {
                let dir = Dir { hides: true, ..Dir::new(Origin::Below) };
                self.states.insert(path.to_vec(), State { node: Node::Dir(dir), layer: current, stated: None });
            }
        }
    }

    fn forget_below(&mut self, path: &[u8]) {
        let gone: Vec<Vec<u8>> = self.states.range(range_below(path)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.states.remove(&path);
            self.groups.remove(&path);
        }
        let gone: Vec<Vec<u8>> = self.wrong.range(range_below(path)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.wrong.remove(&path);
        }
    }

    fn link_below(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (parent, name) = beneath::split(path);
        let dir = beneath::open_physical(self.target.merged?, parent, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
        Some(rustix::fs::readlinkat(&dir, name, Vec::new()).ok()?.into_bytes())
    }
}

/// The paths below a directory. `0` follows `/` in ASCII.
fn range_below(path: &[u8]) -> std::ops::Range<Vec<u8>> {
    if path.is_empty() {
        // Everything but the root itself; no path begins with a byte of 255 that another does not.
        return vec![0]..vec![255; 256];
    }
    [path, b"/"].concat()..[path, b"0"].concat()
}

fn kind_of(root: BorrowedFd<'_>, parent: &[u8], name: &[u8]) -> Option<FileType> {
    let dir = beneath::open_physical(root, parent, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
    let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// The components of a path, the first one last; empty ones and `.` are left out.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec).rev().collect()
}
