//! The directories most drivers keep below their root, and the renames that move objects between them.
//!
//! ```text
//! <root>/layers/<key>    committed, immutable
//!        rw/<id>         writable trees
//!        stage/<id>      being written; a leftover is garbage as soon as the engine finds no lease for it
//!        trash/<unique>  out of sight, waiting for reap
//! ```
//! Each is 0700: a layer holds set-user-ID files of images, which no other user of the machine may reach. Publishing and
//! removing are one `renameat2` each, so an object is seen whole or not at all, whoever dies when.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, RawDir, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::args::{CheckLevel, Flow, Left, ObjectKind};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::key::Key;
use crate::tree::{self, Deleted};

/// The open directories of a driver root.
#[derive(Debug)]
pub struct Layout {
    layers: OwnedFd,
    rw: OwnedFd,
    stage: OwnedFd,
    trash: OwnedFd,
}

impl Layout {
    /// Opens the directories, making those that are missing.
    pub fn open(root: BorrowedFd<'_>) -> Result<Self> {
        let dir = |name: &'static str| ensure_dir(root, name);
        Ok(Self { layers: dir("layers")?, rw: dir("rw")?, stage: dir("stage")?, trash: dir("trash")? })
    }

    /// The directory that holds objects of a kind.
    pub fn dir(&self, kind: ObjectKind) -> BorrowedFd<'_> {
        match kind {
            ObjectKind::Layer => self.layers.as_fd(),
            ObjectKind::Rw => self.rw.as_fd(),
            ObjectKind::Stage => self.stage.as_fd(),
        }
    }

    /// The directory of an object.
    pub fn open_object(&self, kind: ObjectKind, id: Key<'_>) -> Result<OwnedFd> {
        open_dir(self.dir(kind), id.as_str()).during(|| format!("open {}", show(kind, id)))
    }

    /// Makes an empty directory for a new object; `Exists` when the name is taken.
    pub fn make(&self, kind: ObjectKind, id: Key<'_>) -> Result<OwnedFd> {
        rustix::fs::mkdirat(self.dir(kind), id.as_str(), Mode::RWXU).during(|| format!("make {}", show(kind, id)))?;
        self.open_object(kind, id)
    }

    /// Moves an object to another kind and name in one step; `Exists` when the name is taken.
    pub fn publish(&self, from: (ObjectKind, Key<'_>), to: (ObjectKind, Key<'_>)) -> Result<()> {
        let renamed = rustix::fs::renameat_with(
            self.dir(from.0),
            from.1.as_str(),
            self.dir(to.0),
            to.1.as_str(),
            RenameFlags::NOREPLACE,
        );
        renamed.during(|| format!("publish {} as {}", show(from.0, from.1), show(to.0, to.1)))
    }

    /// Moves an object into the trash in one step. A missing object is success.
    pub fn discard(&self, kind: ObjectKind, id: Key<'_>) -> Result<()> {
        self.to_trash(self.dir(kind), id).during(|| format!("discard {}", show(kind, id)))
    }

    /// The same for what a driver keeps in a directory of its own, by an object's name.
    pub fn discard_from(&self, dir: BorrowedFd<'_>, id: Key<'_>) -> Result<()> {
        self.to_trash(dir, id).during(|| format!("discard what belongs to `{id}`"))
    }

    fn to_trash(&self, dir: BorrowedFd<'_>, id: Key<'_>) -> rustix::io::Result<()> {
        loop {
            let name = unique(id);
            match rustix::fs::renameat_with(dir, id.as_str(), &self.trash, &name, RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Yields every object. A name that is no key was not made by a driver and is passed over. Stages come first: what is
    /// committed or promoted meanwhile shows twice then, and not never.
    pub fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        for kind in [ObjectKind::Stage, ObjectKind::Rw, ObjectKind::Layer] {
            // A new description: the offset of the kept one is shared by all threads.
            let dir = open_dir(self.dir(kind), ".").during(|| format!("list {kind:?} objects"))?;
            let mut room = Vec::with_capacity(32 * 1024);
            let mut entries = RawDir::new(dir, room.spare_capacity_mut());
            while let Some(entry) = entries.next() {
                let entry = entry.during(|| format!("list {kind:?} objects"))?;
                let Ok(id) = Key::from_bytes(entry.file_name().to_bytes()) else { continue };
                if yield_object(kind, id) == Flow::Stop {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The check every driver can make: the object is a directory.
    pub fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        let _ = level;
        match self.open_object(kind, id) {
            Err(error) if error.errno.is_some_and(|errno| errno == libc::ENOTDIR || errno == libc::ELOOP) => {
                Err(error.with_kind(ErrorKind::Corrupt))
            }
            other => other.map(drop),
        }
    }

    /// Deletes what lies in the trash until the budget is used up. Several processes may reap at once.
    pub fn reap(&self, budget: Duration) -> Result<Left> {
        self.reap_with(budget, tree::remove)
    }

    /// [`reap`](Self::reap) with the driver's own way to delete one object.
    pub fn reap_with(
        &self,
        budget: Duration,
        mut delete: impl FnMut(BorrowedFd<'_>, &std::ffi::CStr, Option<Instant>) -> Result<Deleted>,
    ) -> Result<Left> {
        let deadline = Instant::now().checked_add(budget);
        let dir = open_dir(self.trash.as_fd(), ".").during(|| "read the trash")?;
        let names = tree::names(dir.as_fd()).during(|| "read the trash")?;
        let mut names = names.into_iter().peekable();
        while let Some((name, _)) = names.next() {
            let deleted = delete(self.trash.as_fd(), &name, deadline)?;
            let late = names.peek().is_some() && deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late || deleted == Deleted::Partly {
                return Ok(Left::More);
            }
        }
        Ok(Left::Nothing)
    }

    /// The trash, for drivers that put more than renamed objects there.
    pub fn trash(&self) -> BorrowedFd<'_> {
        self.trash.as_fd()
    }
}

/// Opens a directory below another; never follows a symbolic link in its place.
pub fn open_dir(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens one of the fixed directories of a driver root, making it when it is missing.
pub fn ensure_dir(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(root, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::os(errno, format_args!("make `{name}` in the driver root"))),
    }
    open_dir(root, name).during(|| format!("open `{name}` in the driver root"))
}

/// Opens the directory `empty` of a driver root, making it when it is missing: the tree of a view of no layers.
pub fn open_empty(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    // It is shown as a root directory, so it has the mode of one.
    match rustix::fs::mkdirat(root, "empty", Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::os(errno, "make `empty` in the driver root")),
    }
    open_dir(root, "empty").during(|| "open `empty` in the driver root")
}

/// The type of the file system a directory lies on, as `/proc/filesystems` names it, or its magic number.
pub fn filesystem_name(dir: BorrowedFd<'_>) -> Result<String> {
    const NAMES: [(u32, &str); 12] = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlay"),
        (0xf2f5_2010, "f2fs"),
        (0x2fc1_2fc1, "zfs"),
        (0xca45_1a4e, "bcachefs"),
        (0x6969, "nfs"),
        (0x6573_5546, "fuse"),
        (0x0102_1997, "9p"),
        (0xe0f5_e1e2, "erofs"),
    ];
    let magic = rustix::fs::fstatfs(dir).during(|| "ask for the file system of the driver root")?.f_type as u32;
    let known = NAMES.iter().find(|(number, _)| *number == magic);
    Ok(known.map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned()))
}

/// Whether files below a directory can share bytes (FICLONE). Leaves nothing behind.
pub fn reflinks(dir: BorrowedFd<'_>) -> bool {
    let nameless =
        || rustix::fs::openat(dir, ".", OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    let (Ok(from), Ok(to)) = (nameless(), nameless()) else { return false };
    // Empty files tell as well, and cloning one with content would wait for its bytes to reach the disk.
    rustix::fs::ioctl_ficlone(&to, &from).is_ok()
}

/// Gives a fresh root directory its mode and owner.
pub fn dress_root(dir: BorrowedFd<'_>, mode: u32, uid: u32, gid: u32) -> Result<()> {
    let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    let now = rustix::fs::fstat(dir).during(|| "stat a root directory")?;
    if (now.st_uid, now.st_gid) != (uid, gid) {
        rustix::fs::fchown(dir, Some(owner.0), Some(owner.1)).during(|| "set the owner of a root directory")?;
    }
    rustix::fs::fchmod(dir, Mode::from_bits_truncate(mode & 0o7777)).during(|| "set the mode of a root directory")
}

/// What says that nobody has said anything about a root: no archive holds it by accident, and every file system can.
const SILENT: (i64, i64) = (0, 1);

/// Marks the root of a layer that is about to be unpacked without its parents. A layer's archive need not have an entry for
/// its root, and whoever unpacks leaves the time of a directory alone that the archive does not mention. As long as the mark
/// is there, chains show the root of the layer below.
pub fn be_silent(dir: BorrowedFd<'_>) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: SILENT.0, tv_nsec: SILENT.1 as _ },
    };
    rustix::fs::futimens(dir, &times).during(|| "set the time of a fresh root directory")
}

/// Whether a root bears the mark of [`be_silent`].
pub fn is_silent(root: &Stat) -> bool {
    (root.st_mtime, root.st_mtime_nsec as i64) == SILENT
}

fn show(kind: ObjectKind, id: Key<'_>) -> String {
    let place = match kind {
        ObjectKind::Layer => "layers",
        ObjectKind::Rw => "rw",
        ObjectKind::Stage => "stage",
    };
    format!("`{place}/{id}`")
}

/// A name nobody else uses: process, count, and a clock for the case that a process id came round again.
pub fn unique(id: Key<'_>) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let pid = rustix::process::getpid().as_raw_nonzero();
    format!("{id}.{pid:x}.{count:x}.{:x}{:08x}", now.tv_sec, now.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    fn with_layout(test: impl FnOnce(&Layout, &std::path::Path)) {
        let root = tempfile::tempdir().unwrap();
        let dir = rustix::fs::openat(CWD, root.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        test(&Layout::open(dir.as_fd()).unwrap(), root.path());
    }

    fn key(name: &str) -> Key<'_> {
        Key::new(name).unwrap()
    }

    #[test]
    fn publish_is_seen_once_and_discard_repeats() {
        with_layout(|layout, root| {
            for id in ["s1", "s2"] {
                layout.make(ObjectKind::Stage, key(id)).unwrap();
            }
            assert_eq!(layout.make(ObjectKind::Stage, key("s1")).unwrap_err().kind, ErrorKind::Exists);
            layout.publish((ObjectKind::Stage, key("s1")), (ObjectKind::Layer, key("k"))).unwrap();
            let again = layout.publish((ObjectKind::Stage, key("s2")), (ObjectKind::Layer, key("k"))).unwrap_err();
            assert_eq!(again.kind, ErrorKind::Exists);
            assert!(root.join("layers/k").is_dir() && root.join("stage/s2").is_dir());

            let mut seen = Vec::new();
            let mut note = |kind, id: Key<'_>| {
                seen.push((kind, id.to_string()));
                Flow::Continue
            };
            layout.list(&mut note).unwrap();
            assert_eq!(seen, [(ObjectKind::Stage, "s2".to_owned()), (ObjectKind::Layer, "k".to_owned())]);

            layout.discard(ObjectKind::Layer, key("k")).unwrap();
            layout.discard(ObjectKind::Layer, key("k")).unwrap();
            assert!(!root.join("layers/k").exists());
            assert_eq!(fs_err::read_dir(root.join("trash")).unwrap().count(), 1);
            assert_eq!(layout.reap(Duration::from_secs(60)).unwrap(), Left::Nothing);
            assert_eq!(fs_err::read_dir(root.join("trash")).unwrap().count(), 0);
        });
    }

    #[test]
    fn a_budget_of_nothing_still_makes_progress() {
        with_layout(|layout, _| {
            for id in ["a", "b", "c"] {
                layout.make(ObjectKind::Stage, key(id)).unwrap();
                layout.discard(ObjectKind::Stage, key(id)).unwrap();
            }
            let mut calls = 1;
            while layout.reap(Duration::ZERO).unwrap() == Left::More {
                calls += 1;
                assert!(calls < 10, "reap makes no progress");
            }
        });
    }

    #[test]
    fn an_object_that_is_no_directory_is_corrupt() {
        with_layout(|layout, root| {
            fs_err::write(root.join("layers/file"), "").unwrap();
            fs_err::os::unix::fs::symlink("/", root.join("layers/link")).unwrap();
            for (id, kind) in
                [("file", ErrorKind::Corrupt), ("link", ErrorKind::Corrupt), ("none", ErrorKind::NotFound)]
            {
                let error = layout.check(ObjectKind::Layer, key(id), CheckLevel::Present).unwrap_err();
                assert_eq!(error.kind, kind, "{id}");
            }
        });
    }

    #[test]
    fn names_of_file_systems() {
        let shm = rustix::fs::openat(CWD, "/dev/shm", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(filesystem_name(shm.as_fd()).unwrap(), "tmpfs");
        assert!(!reflinks(shm.as_fd()), "tmpfs has no reflinks");
    }
}
