//! One overlay mount: directories in, a detached mount out. Knows the kernel's interfaces and nothing of keys or roots.
//!
//! Three interfaces are tried, newest first, and the answer of the kernel decides, never its version: `lowerdir+` by
//! descriptor (500 layers, no path is resolved twice), `lowerdir+` by `/proc/self/fd` name (the same limit), and mount(2)
//! with one option string, which is clipped at a page and has to be attached for a moment before it can be cloned.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mica_storage_api::host::LockMode;
use mica_storage_api::layout::open_dir;
use mica_storage_api::sys::as_owner;
use mica_storage_api::{Error, ErrorKind, Host, Result, ResultExt};
use rustix::fs::{CWD, Mode, StatVfsMountFlags, fstatvfs, mkdirat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, open_tree, unmount,
};

use crate::choices::options;

/// The kernel's limit on lower directories (`OVL_MAX_STACK`).
pub(crate) const MAX_LOWERS: usize = 500;

/// How many `/proc/self/fd/N` names fit into the one page mount(2) takes, with room for the other options.
pub(crate) const MAX_LOWERS_CLASSIC: usize = 200;

/// Where mount(2) attaches for a moment; below the driver's root.
const MOUNT_POINT: &str = "mnt";

/// Which of the kernel's interfaces to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    /// fsconfig(2) with descriptors.
    Descriptors,
    /// fsconfig(2) with names below `/proc/self/fd`.
    Names,
    /// mount(2), attached for a moment at a directory of the driver's own.
    Classic,
}

impl Interface {
    pub(crate) const NEWEST_FIRST: [Self; 3] = [Self::Descriptors, Self::Names, Self::Classic];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "fd",
            Self::Names => "name",
            Self::Classic => "classic",
        }
    }

    /// The longest chain a mount takes.
    pub(crate) fn max_lowers(self) -> usize {
        match self {
            Self::Descriptors | Self::Names => MAX_LOWERS,
            Self::Classic => MAX_LOWERS_CLASSIC,
        }
    }
}

/// A lower directory, opened only while it is being added: five hundred at once would exceed the usual descriptor limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lower<'a> {
    pub(crate) parent: BorrowedFd<'a>,
    pub(crate) name: &'a str,
}

/// The writable part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upper<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) work: BorrowedFd<'a>,
    /// No syncfs of the whole file system when the mount goes; unsafe after a crash of the machine.
    pub(crate) volatile: bool,
}

/// What to mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stack<'a> {
    /// Top first.
    pub(crate) lowers: &'a [Lower<'a>],
    /// A directory that stays empty, for stacks the kernel would find too short.
    pub(crate) empty: BorrowedFd<'a>,
    pub(crate) upper: Option<Upper<'a>>,
    pub(crate) read_only: bool,
    /// `user.overlay.*` in place of `trusted.overlay.*`: a user namespace may not write the latter.
    pub(crate) userxattr: bool,
    pub(crate) selinux_label: Option<&'a str>,
    /// Where the ids of all these directories are mapped: who root of the mapping is outside.
    pub(crate) owner: Option<(u32, u32)>,
    /// The driver's root, where mount(2) gets its mount point, and the host whose lock guards that.
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) host: Host,
}

impl Stack<'_> {
    /// The detached mount.
    pub(crate) fn mount(&self, interface: Interface) -> Result<OwnedFd> {
        let mounted = match interface {
            Interface::Descriptors | Interface::Names => {
                self.as_root_of_the_mapping(|| self.mount_by_context(interface))
            }
            Interface::Classic => self.mount_classic(),
        }?;
        // Where it cannot make what it needs in the work directory, overlayfs tells only the kernel's log, and mounts for
        // readers.
        let wanted = self.upper.is_some() && !self.read_only && self.owner.is_some();
        let flags = || fstatvfs(&mounted).during(|| "look at the overlay mount").map(|found| found.f_flag);
        if wanted && flags()?.contains(StatVfsMountFlags::RDONLY) {
            return Err(Error::unsupported("writing through an overlay with mapped ids"));
        }
        Ok(mounted)
    }

    /// The mounter is whom overlayfs makes files as, in the work directory, and of its ids those count that the mapping has.
    fn as_root_of_the_mapping<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.owner {
            None => work(),
            Some((uid, gid)) => as_owner(uid, gid, work).during(|| "become root of the mapping")?,
        }
    }

    fn mount_by_context(&self, interface: Interface) -> Result<OwnedFd> {
        let context =
            fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).during(|| "open an overlay file system context")?;
        self.configure(&context, interface).map_err(|(errno, what)| explain(&context, errno, &what))?;
        let attributes = if self.read_only { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| explain(&context, errno, "make the overlay mount"))
    }

    fn configure(&self, context: &OwnedFd, interface: Interface) -> std::result::Result<(), (Errno, String)> {
        let string = |key: &str, value: &str| {
            fsconfig_set_string(context.as_fd(), key, value)
                .map_err(|errno| (errno, format!("set overlay option `{key}={value}`")))
        };
        let flag = |key: &str| {
            fsconfig_set_flag(context.as_fd(), key).map_err(|errno| (errno, format!("set overlay option `{key}`")))
        };
        let directory = |key: &str, dir: BorrowedFd<'_>| {
            match interface {
                Interface::Descriptors => fsconfig_set_fd(context.as_fd(), key, dir),
                Interface::Names | Interface::Classic => fsconfig_set_string(context.as_fd(), key, name_of(dir)),
            }
            .map_err(|errno| (errno, format!("set overlay option `{key}`")))
        };

        for option in self.options() {
            match option.split_once('=') {
                Some((key, value)) => string(key, value)?,
                None => flag(option)?,
            }
        }
        if let Some(label) = self.selinux_label {
            string("context", label)?;
        }
        for lower in self.lowers {
            let opened =
                open_dir(lower.parent, lower.name).map_err(|errno| (errno, format!("open layer `{}`", lower.name)))?;
            directory("lowerdir+", opened.as_fd())
                .map_err(|(errno, what)| (errno, format!("{what} to layer `{}`", lower.name)))?;
        }
        if self.needs_filler() {
            directory("lowerdir+", self.empty)?;
        }
        if let Some(upper) = self.upper {
            directory("upperdir", upper.dir)?;
            directory("workdir", upper.work)?;
        }
        fsconfig_create(context.as_fd())
            .map_err(|errno| (errno, format!("mount an overlay of {} layers", self.lowers.len())))
    }

    fn mount_classic(&self) -> Result<OwnedFd> {
        let mut held = Vec::with_capacity(self.lowers.len());
        for lower in self.lowers {
            held.push(open_dir(lower.parent, lower.name).during(|| format!("open layer `{}`", lower.name))?);
        }
        let mut names: Vec<String> = held.iter().map(|lower| name_of(lower.as_fd())).collect();
        if self.needs_filler() {
            names.push(name_of(self.empty));
        }
        let mut options = self.options().join(",");
        options.push_str(",lowerdir=");
        options.push_str(&names.join(":"));
        if let Some(upper) = self.upper {
            options.push_str(&format!(",upperdir={},workdir={}", name_of(upper.dir), name_of(upper.work)));
        }
        if let Some(label) = self.selinux_label {
            options.push_str(&format!(",context=\"{label}\""));
        }
        // The kernel reads one page and would take what is left of a longer string for the whole.
        if options.len() >= rustix::param::page_size() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the options for {} layers are {} bytes long, and mount(2) takes less than a page; Linux 6.7 and later has no such limit",
                    self.lowers.len(),
                    options.len()
                ),
            ));
        }
        let options = std::ffi::CString::new(options)
            .map_err(|_| Error::new(ErrorKind::Invalid, "the SELinux label holds a NUL byte"))?;

        let flags = if self.read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        // One name for all, since a name of its own would be left behind by a kill; the lock keeps two from stacking up on it.
        let _alone = self.host.lock("overlay-mount", LockMode::Exclusive)?;
        match mkdirat(self.root, MOUNT_POINT, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::os(errno, "make the mount point of overlay mounts")),
        }
        let point = format!("{}/{MOUNT_POINT}", name_of(self.root));
        self.as_root_of_the_mapping(|| {
            mount("overlay", &point, "overlay", flags, &*options)
                .during(|| format!("mount an overlay of {} layers", self.lowers.len()))
        })?;
        let clone = open_tree(CWD, &point, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
        unmount(&point, UnmountFlags::DETACH).during(|| "detach the overlay mount")?;
        clone.during(|| "clone the overlay mount")
    }

    fn options(&self) -> Vec<&'static str> {
        options(self.userxattr, self.upper.is_some_and(|upper| upper.volatile))
    }

    /// The kernel wants a lower directory, and two of them where there is no upper.
    fn needs_filler(&self) -> bool {
        self.lowers.len() < if self.upper.is_some() { 1 } else { 2 }
    }
}

fn name_of(dir: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

/// Adds what the kernel wrote into the context's log, which is far clearer than EINVAL.
fn explain(context: &OwnedFd, errno: Errno, what: &str) -> Error {
    let mut error = Error::os(errno, what);
    let mut buffer = [0; 1024];
    // Each read yields one message, "e overlay: …" with the level in front; ENODATA ends the log.
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        if length == 0 {
            break;
        }
        let message = String::from_utf8_lossy(buffer[..length].get(2..).unwrap_or_default()).trim().to_owned();
        error.message.push_str("; the kernel says: ");
        error.message.push_str(&message);
    }
    error
}
