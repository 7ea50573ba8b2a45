//! Finds the directory an entry goes into: resolved inside the root, made when missing, and kept open for the next one.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::{Target, Whiteouts, meta};
use crate::archive::Time;
use crate::beneath;
use crate::error::{Error, Result};

/// How many directories are kept open.
const CACHE: usize = 256;

/// How many symbolic links one path may lead through: the kernel's own number.
const LINKS_MAX: u32 = 40;

/// An open directory below the target.
#[derive(Debug)]
pub(super) struct Dir {
    pub fd: OwnedFd,
    /// The path below the root that leads here through no symbolic link.
    pub path: Vec<u8>,
    /// Whether what is created here takes over a group or an access list.
    pub inherits: bool,
}

/// The directories of one target.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub target: Target<'a>,
    /// The owner of directories that nothing speaks of.
    root: (u32, u32),
    cache: HashMap<Vec<u8>, (Rc<Dir>, u64)>,
    last: Option<(Vec<u8>, Rc<Dir>)>,
    clock: u64,
    /// Every directory this layer touched, the time it must have in the end, and whether the layer has an entry for it.
    touched: HashMap<Vec<u8>, Touched>,
}

#[derive(Debug, Clone, Copy)]
struct Touched {
    mtime: Time,
    explicit: bool,
}

/// What is done about a directory that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Stop,
}

impl<'a> Places<'a> {
    pub fn new(target: Target<'a>, root: (u32, u32)) -> Places<'a> {
        Places { target, root, cache: HashMap::new(), last: None, clock: 0, touched: HashMap::new() }
    }

    /// The directory at `path`, which is clean and may lead through symbolic links; made when missing.
    pub fn dir(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        if let Some((last, dir)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(dir));
        }
        self.clock += 1;
        let dir = match self.cache.get_mut(path) {
            Some((dir, used)) => {
                *used = self.clock;
                Rc::clone(dir)
            }
            None => {
                let dir = Rc::new(self.open(path)?);
                self.keep(path, &dir);
                dir
            }
        };
        self.last = Some((path.to_vec(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// The directory at `path`, when it exists: for a whiteout, which has nothing to delete in a missing one.
    pub fn existing(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>> {
        if let Some((dir, _)) = self.cache.get(path) {
            return Ok(Some(Rc::clone(dir)));
        }
        let dir = match self.look(path)? {
            Some(fd) => Some(self.arrive(fd, path.to_vec())?),
            None => self.walk(path, Missing::Stop)?,
        };
        Ok(dir.map(Rc::new))
    }

    /// Takes over a directory that was just created or opened, whose physical path is `path`.
    pub fn opened(&mut self, fd: OwnedFd, path: &[u8], inherits: bool) {
        self.clock += 1;
        let dir = Rc::new(Dir { fd, path: path.to_vec(), inherits });
        self.keep(path, &dir);
    }

    /// Records that the layer itself has an entry for the directory at the physical `path`.
    pub fn explicit(&mut self, path: Vec<u8>, mtime: Time) {
        self.touched.insert(path, Touched { mtime, explicit: true });
    }

    /// Whether this layer put anything into the directory at the physical `path`, or has an entry for it.
    pub fn is_touched(&self, path: &[u8]) -> bool {
        self.touched.contains_key(path)
    }

    /// Forgets the directory at the physical `path` and all below, because it is being removed.
    pub fn forget(&mut self, path: &[u8]) {
        let below = |p: &[u8]| p.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        self.touched.retain(|p, _| !below(p));
        // The cache is keyed by unresolved names, any of which may lead there.
        self.cache.clear();
        self.last = None;
    }

    /// Sets the times of every directory this layer touched, now that nothing changes them any more. Returns whether
    /// the layer has an entry for each.
    pub fn finish(self) -> Result<bool> {
        let mut independent = true;
        for (path, touched) in &self.touched {
            independent &= touched.explicit || path.is_empty();
            let dir = beneath::open_physical(self.target.root, path, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|e| Error::io("open directory", path, e))?;
            rustix::fs::futimens(&dir, &touched.mtime.to_set()).map_err(|e| Error::io("set times of", path, e))?;
        }
        Ok(independent)
    }

    fn keep(&mut self, path: &[u8], dir: &Rc<Dir>) {
        if self.cache.len() >= CACHE
            && let Some(oldest) = self.cache.iter().min_by_key(|(_, (_, used))| used).map(|(path, _)| path.clone())
        {
            self.cache.remove(&oldest);
        }
        self.cache.insert(path.to_vec(), (Rc::clone(dir), self.clock));
    }

    /// A directory that exists at exactly this path, without any symbolic link on the way.
    fn look(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        match beneath::open_physical(self.target.root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("open directory", path, e)),
        }
    }

    fn open(&mut self, path: &[u8]) -> Result<Dir> {
        match self.look(path)? {
            Some(fd) => self.arrive(fd, path.to_vec()),
            None => self.walk(path, Missing::Make)?.ok_or_else(|| Error::io("open directory", path, Errno::NOENT)),
        }
    }

    /// The slow way, component by component: follows the symbolic links of the target and of the layers below as if the
    /// root were `/`, and makes what is missing. Every path it opens has been resolved already.
    fn walk(&mut self, path: &[u8], missing: Missing) -> Result<Option<Dir>> {
        let mut ahead: Vec<Vec<u8>> = components(path);
        let mut dir =
            self.arrive(self.look(b"")?.ok_or_else(|| Error::io("open", path, Errno::NOTDIR))?, Vec::new())?;
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                let (up, _) = beneath::split(&dir.path);
                let fd = self.look(up)?.ok_or_else(|| Error::io("open", up, Errno::NOTDIR))?;
                dir = self.arrive(fd, up.to_vec())?;
                continue;
            }
            let full = beneath::join(&dir.path, &name);
            let link = match kind(dir.fd.as_fd(), &name).map_err(|e| Error::io("read", &full, e))? {
                Some(FileType::Directory) => None,
                Some(FileType::Symlink) => Some(read_link(dir.fd.as_fd(), &name, &full)?),
                _ if missing == Missing::Stop => return Ok(None),
                Some(other) => {
                    let hidden = other == FileType::CharacterDevice && meta::is_whiteout(dir.fd.as_fd(), &name);
                    self.replace(&dir, &name, &full, hidden)?;
                    None
                }
                None => self.make(&dir, &name, &full)?,
            };
            let Some(link) = link else {
                let fd = beneath::open_child_dir(&dir.fd, &name).map_err(|e| Error::io("open directory", &full, e))?;
                dir = self.arrive(fd, full)?;
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(Error::io("resolve", path, Errno::LOOP));
            }
            if link.first() == Some(&b'/') {
                let root = self.look(b"")?.ok_or_else(|| Error::io("open", path, Errno::NOTDIR))?;
                dir = self.arrive(root, Vec::new())?;
            }
            ahead.append(&mut components(&link));
        }
        Ok(Some(dir))
    }

    /// Makes a directory where a file of this or a lower layer stands: an entry below it says it must be one.
    fn replace(&mut self, dir: &Dir, name: &[u8], full: &[u8], hidden: bool) -> Result<()> {
        rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty()).map_err(|e| Error::io("replace", full, e))?;
        let stat = mkdir(dir.fd.as_fd(), name, self.root).map_err(|e| Error::io("create directory", full, e))?;
        self.touched.insert(full.to_vec(), Touched { mtime: Time::of(&stat), explicit: false });
        if hidden {
            let fd = beneath::open_child_dir(&dir.fd, name).map_err(|e| Error::io("open directory", full, e))?;
            meta::set_opaque(fd.as_fd(), self.target.whiteouts, full)?;
        }
        Ok(())
    }

    /// Makes a missing directory like the one in the layers below; or, when that is a symbolic link, returns where it
    /// points to.
    fn make(&mut self, dir: &Dir, name: &[u8], full: &[u8]) -> Result<Option<Vec<u8>>> {
        let failed = |e| Error::io("create directory", full, e);
        let below = self.below(&dir.path)?;
        let found = match &below {
            Some(below) => kind(below.as_fd(), name).map_err(|e| Error::io("read", full, e))?,
            None => None,
        };
        let mtime = match (&below, found) {
            (Some(below), Some(FileType::Symlink)) => return read_link(below.as_fd(), name, full).map(Some),
            (Some(below), Some(FileType::Directory)) => {
                let source = beneath::open_child_dir(below, name).map_err(|e| Error::io("open directory", full, e))?;
                let stat = rustix::fs::fstat(&source).map_err(|e| Error::io("read", full, e))?;
                mkdir(dir.fd.as_fd(), name, self.root).map_err(failed)?;
                let made = beneath::open_child_dir(&dir.fd, name).map_err(failed)?;
                meta::copy_dir(source.as_fd(), &stat, made.as_fd(), full)?;
                Time::of(&stat)
            }
            _ => Time::of(&mkdir(dir.fd.as_fd(), name, self.root).map_err(failed)?),
        };
        self.touched.insert(full.to_vec(), Touched { mtime, explicit: false });
        Ok(None)
    }

    /// The directory at the physical `path` in the view of the layers below.
    pub fn below(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let Some(merged) = self.target.merged else { return Ok(None) };
        match beneath::open_physical(merged, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(Error::io("open directory", path, e)),
        }
    }

    fn arrive(&mut self, fd: OwnedFd, path: Vec<u8>) -> Result<Dir> {
        let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("read", &path, e))?;
        if !self.touched.contains_key(&path) {
            self.touched.insert(path.clone(), Touched { mtime: Time::of(&stat), explicit: false });
        }
        let inherits = stat.st_mode & 0o2000 != 0 || meta::has_default_acl(fd.as_fd());
        Ok(Dir { fd, path, inherits })
    }
}

impl Whiteouts {
    /// Whether the target shows nothing of the layers below.
    pub(crate) fn is_overlay(self) -> bool {
        matches!(self, Whiteouts::OverlayTrusted | Whiteouts::OverlayUser)
    }
}

/// The type of `name` in `dir`, or nothing when it does not exist.
pub(super) fn kind(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<FileType>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A new directory, owned by this root and with the usual mode, whatever its parent or the umask say.
fn mkdir(dir: BorrowedFd<'_>, name: &[u8], (uid, gid): (u32, u32)) -> Result<Stat, Errno> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
    let made = beneath::open_child_dir(dir, name)?;
    let stat = rustix::fs::fstat(&made)?;
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        rustix::fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    if stat.st_mode & 0o7777 != 0o755 {
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
    }
    Ok(stat)
}

/// The components of a path, the first one last; empty ones and `.` are left out.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec).rev().collect()
}

fn read_link(dir: BorrowedFd<'_>, name: &[u8], full: &[u8]) -> Result<Vec<u8>> {
    let link = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|e| Error::io("read link", full, e))?;
    Ok(link.into_bytes())
}
