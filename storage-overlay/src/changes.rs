//! The walk of an upper directory beside a view of the layers below it, which yields what a container changed in O(changes).

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mica_storage_api::tree::{self, HELD};
use mica_storage_api::{Change, ChangeKind, Flow, Result, ResultExt, Whiteout};
use rustix::fs::{AtFlags, FileType, Stat, fgetxattr, fstat, statat};
use rustix::io::Errno;

/// Yields every difference between `upper` and `below` in lexical order. `below` is the merged view of the parents.
pub(crate) fn walk(
    upper: OwnedFd,
    below: OwnedFd,
    style: Whiteout,
    yield_change: &mut dyn FnMut(&Change<'_>) -> Flow,
) -> Result<()> {
    let changed = differs(
        &fstat(&upper).during(|| "stat the upper directory")?,
        &fstat(&below).during(|| "stat the view of the parents")?,
    );
    let root = Change {
        kind: ChangeKind::Modified,
        path: std::path::Path::new(""),
        dir: Some(upper.as_fd()),
        name: OsStr::new(""),
    };
    if changed && yield_change(&root) == Flow::Stop {
        return Ok(());
    }
    let mut walk = Walk { path: PathBuf::new(), style, yield_change };
    let mut stack = vec![Level::new(upper, Some(below)).during(|| "read the upper directory")?];
    while let Some(level) = stack.last_mut() {
        let Some(name) = level.names.pop() else {
            let done = stack.pop();
            walk.path.pop();
            if let (Some(done), Some(level)) = (done, stack.last_mut()) {
                level.reopen_above(&done).during(|| format!("return to `{}`", walk.path.display()))?;
            }
            continue;
        };
        let outcome = walk
            .visit(level, &name)
            .during(|| format!("compare `{}`", walk.path.join(OsStr::from_bytes(name.to_bytes())).display()))?;
        match outcome {
            Visit::Stop => return Ok(()),
            Visit::Next => {}
            Visit::Descend(next) => {
                walk.path.push(OsStr::from_bytes(name.to_bytes()));
                if stack.len() > HELD {
                    let hidden = stack.len() - HELD;
                    stack[hidden].upper = None;
                    // The way back up to it needs a child that has one; the last such level of a stack stays open.
                    if stack[hidden + 1].has_below() {
                        stack[hidden].below_closed = stack[hidden].below.take().is_some();
                    }
                }
                stack.push(next);
            }
        }
    }
    Ok(())
}

/// Whether the directory `name` hides what lies below it.
pub(crate) fn is_opaque(parent: BorrowedFd<'_>, name: &CStr, style: Whiteout) -> rustix::io::Result<bool> {
    let attribute = if style == Whiteout::OverlayUser { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" };
    let dir = tree::open(parent, name)?;
    let mut value = [0; 2];
    match fgetxattr(&dir, attribute, &mut value[..]) {
        Ok(length) => Ok(&value[..length] == b"y"),
        // A longer value is none that the kernel writes.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A directory of the walk. Descriptors of levels far above are closed and found again through `..`.
struct Level {
    upper: Option<OwnedFd>,
    below: Option<OwnedFd>,
    below_closed: bool,
    /// The names in reverse order, so that the next one is the last.
    names: Vec<std::ffi::CString>,
}

impl Level {
    fn new(upper: OwnedFd, below: Option<OwnedFd>) -> rustix::io::Result<Self> {
        let mut names: Vec<_> = tree::names(upper.as_fd())?.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self { upper: Some(upper), below, below_closed: false, names })
    }

    fn has_below(&self) -> bool {
        self.below.is_some() || self.below_closed
    }

    fn reopen_above(&mut self, child: &Self) -> rustix::io::Result<()> {
        if let (None, Some(child)) = (&self.upper, &child.upper) {
            self.upper = Some(tree::open(child.as_fd(), c"..")?);
        }
        if self.below_closed {
            self.below = child.below.as_ref().map(|child| tree::open(child.as_fd(), c"..")).transpose()?;
            self.below_closed = false;
        }
        Ok(())
    }
}

enum Visit {
    Next,
    Stop,
    Descend(Level),
}

struct Walk<'a> {
    path: PathBuf,
    style: Whiteout,
    yield_change: &'a mut dyn FnMut(&Change<'_>) -> Flow,
}

impl Walk<'_> {
    fn visit(&mut self, level: &Level, name: &CStr) -> rustix::io::Result<Visit> {
        let Some(upper) = level.upper.as_ref() else { return Err(Errno::BADF) };
        let stat = statat(upper, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let old = match &level.below {
            None => None,
            Some(below) => match statat(below, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno),
            },
        };
        if is_whiteout(&stat) {
            // A whiteout of nothing stays behind when a file was made over a deeper one and removed again.
            return Ok(if old.is_none() { Visit::Next } else { self.report(ChangeKind::Deleted, None, name) });
        }
        let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let dir = Some(upper.as_fd());
        if !is_dir(&stat) {
            return Ok(self.report(if old.is_some() { ChangeKind::Modified } else { ChangeKind::Added }, dir, name));
        }
        let (kind, is_old_dir) = match &old {
            None => (ChangeKind::Added, false),
            Some(old) if !is_dir(old) => (ChangeKind::Modified, false),
            Some(_) if is_opaque(upper.as_fd(), name, self.style)? => (ChangeKind::Opaque, true),
            Some(_) => (ChangeKind::Modified, true),
        };
        if matches!(self.report(kind, dir, name), Visit::Stop) {
            return Ok(Visit::Stop);
        }
        // In an opaque directory too: what is there under a name that the parents show is not added but modified.
        let below =
            level.below.as_ref().filter(|_| is_old_dir).map(|below| tree::open(below.as_fd(), name)).transpose()?;
        Ok(Visit::Descend(Level::new(tree::open(upper.as_fd(), name)?, below)?))
    }

    fn report(&mut self, kind: ChangeKind, dir: Option<BorrowedFd<'_>>, name: &CStr) -> Visit {
        let name = OsStr::from_bytes(name.to_bytes());
        self.path.push(name);
        let flow = (self.yield_change)(&Change { kind, path: &self.path, dir, name });
        self.path.pop();
        if flow == Flow::Stop { Visit::Stop } else { Visit::Next }
    }
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn differs(a: &Stat, b: &Stat) -> bool {
    let image = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    image(a) != image(b)
}
