//! The monitor's mount namespace: the root file system is attached here and nowhere else, so nothing of it can leak into
//! the host or be busy there, and all of it goes when the monitor leaves.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_engine::Kind;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change};

use crate::failure::{Failure, OrFail};

/// Where the root file system and the other mounts are attached.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub path: &'a Path,
    /// True to mount a memory file system there first, which shows what is below to everybody in the namespace.
    pub fresh: bool,
}

/// The way back to the namespace the monitor came from.
#[derive(Debug)]
pub struct Outside {
    namespace: OwnedFd,
    root: OwnedFd,
    rootfs: PathBuf,
    /// Where the other mounts are; empty when there are none.
    places: Vec<PathBuf>,
    shm: PathBuf,
    /// Whether the mount points were made on the host and are to be removed there.
    made: bool,
}

/// Enters a new mount namespace and attaches the root file system at `<place>/rootfs`, other mounts by their names below
/// `<place>/mounts`, and the `/dev/shm` of the process `shm_of` at `<place>/shm`.
pub fn enter(
    place: Place<'_>,
    root: impl AsFd,
    others: &[(String, OwnedFd)],
    shm_of: Option<i32>,
) -> Result<Outside, Failure> {
    let rootfs = place.path.join("rootfs");
    let open = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).or_fail(|| format!("cannot open `{path}`"))
    };
    let namespace = open("/proc/self/ns/mnt", OFlags::RDONLY)?;
    let mut outside = Outside {
        namespace,
        root: open("/", OFlags::PATH | OFlags::DIRECTORY)?,
        rootfs,
        places: Vec::new(),
        shm: place.path.join("shm"),
        made: !place.fresh,
    };
    let shared = shm_of.map(|pid| shared_memory(pid, &outside)).transpose()?;
    unshare(CloneFlags::CLONE_NEWNS).or_fail(|| "cannot make a mount namespace".into())?;
    // Slave, not private: what the host unmounts later must not stay busy here for the container's whole life.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .or_fail(|| "cannot separate the mount namespace from the host's".into())?;
    if place.fresh {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("tmpfs", place.path, "tmpfs", flags, Some(c"mode=755,size=1m"))
            .or_fail(|| format!("cannot make room for mounts at `{}`", place.path.display()))?;
    }
    outside.places = places(place.path, others)?;
    make_directory(&outside.rootfs)?;
    rustix::mount::move_mount(root.as_fd(), "", CWD, &outside.rootfs, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .or_fail(|| format!("cannot mount the root file system at `{}`", outside.rootfs.display()))?;
    for (place, (_, mount)) in outside.places.iter().zip(others) {
        rustix::mount::move_mount(mount, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .or_fail(|| format!("cannot mount at `{}`", place.display()))?;
    }
    if let Some(shared) = shared {
        make_directory(&outside.shm)?;
        rustix::mount::move_mount(shared, "", CWD, &outside.shm, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .or_fail(|| "cannot mount the other container's `/dev/shm`".into())?;
    }
    Ok(outside)
}

/// A detached copy of the mount that a file is on, with the file as its root and its name.
pub fn copy_of(path: &Path) -> Result<(String, OwnedFd), Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = rustix::mount::open_tree(CWD, path, flags)
        .or_fail(|| format!("cannot copy the mount of `{}`", path.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((name, copy))
}

/// Makes the mount points of the other mounts, each a directory or a file as its mount is.
fn places(above: &Path, others: &[(String, OwnedFd)]) -> Result<Vec<PathBuf>, Failure> {
    let directory = above.join("mounts");
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let context = || "cannot make a mount point".into();
    fs_err::create_dir_all(&directory).or_fail(context)?;
    let place = |(name, mount): &(String, OwnedFd)| {
        let place = directory.join(name);
        if place.parent() != Some(&directory) || name == ".." {
            return Err(Failure::new(Kind::InvalidInput, format!("`{name}` is no name of a mount")));
        }
        let found = rustix::fs::fstat(mount).or_fail(context)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            fs_err::create_dir_all(&place).or_fail(context)?;
        } else {
            fs_err::write(&place, "").or_fail(context)?;
        }
        Ok(place)
    };
    others.iter().map(place).collect()
}

/// A detached copy of the mount at `/dev/shm` of another container's process. A mount can only be copied from inside its
/// namespace. What answers there is the other container's choice, so it must be a memory file system: a link or a bind
/// mount elsewhere would hand this container something it was not given.
fn shared_memory(pid: i32, outside: &Outside) -> Result<OwnedFd, Failure> {
    let context = || "cannot take the other container's `/dev/shm`".to_owned();
    let path = format!("/proc/{pid}/ns/mnt");
    let theirs = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).or_fail(context)?;
    setns(theirs, CloneFlags::CLONE_NEWNS).or_fail(context)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let copy = rustix::mount::open_tree(CWD, "/dev/shm", flags).or_fail(context);
    outside.come_back()?;
    let copy = copy?;
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    match rustix::fs::fstatfs(&copy) {
        Ok(found) if found.f_type == TMPFS_MAGIC => Ok(copy),
        _ => Err(Failure::new(Kind::InvalidInput, "the other container's `/dev/shm` is no shared memory")),
    }
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    match fs_err::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Failure::caused("cannot make the mount point", &error))
        }
        _ => Ok(()),
    }
}

/// Shows version 2 of the control groups, whose hierarchy there always is, in the place of version 1.
///
/// In a user namespace nobody may make a group of version 1, and libcgroups 0.7 fails at the first one; of version 2 it knows
/// that groups may be missing, and goes on without. Only this monitor sees the mount.
pub fn show_version_2() -> Result<(), Failure> {
    let context = || "cannot do without control groups".to_owned();
    unshare(CloneFlags::CLONE_NEWCGROUP).or_fail(context)?;
    rustix::mount::mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::RDONLY, None).or_fail(context)
}

impl Outside {
    /// Returns to the namespace the monitor came from. The other one has no process left then, and its mounts with it.
    pub fn leave(self) -> Result<(), Failure> {
        self.come_back()?;
        if !self.made {
            return Ok(());
        }
        for place in &self.places {
            // An empty file or directory, or what somebody else put there.
            fs_err::remove_dir(place).or_else(|_| fs_err::remove_file(place)).ok();
        }
        if let Some(directory) = self.places.first().and_then(|place| place.parent()) {
            fs_err::remove_dir(directory).ok();
        }
        fs_err::remove_dir(&self.shm).ok();
        fs_err::remove_dir(&self.rootfs).or_fail(|| "cannot remove the mount point".into())
    }

    fn come_back(&self) -> Result<(), Failure> {
        setns(&self.namespace, CloneFlags::CLONE_NEWNS).or_fail(|| "cannot leave the mount namespace".into())?;
        // Entering a mount namespace means entering its root, which need not be the root the caller lived in.
        rustix::process::fchdir(&self.root).or_fail(|| "cannot return to the root directory".into())?;
        rustix::process::chroot(".").or_fail(|| "cannot return to the root directory".into())
    }
}
