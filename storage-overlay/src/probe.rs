//! What `open` tries on the real root: one tiny overlay, mounted, written through, and looked at from below.
//!
//! A mount that succeeds proves little. Without extended attributes the kernel mounts and later cannot replace a directory; in
//! a user namespace without `userxattr` it mounts and `rm -r` says EIO. So the probe deletes and replaces.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_storage_api::host::LockMode;
use mica_storage_api::layout::open_dir;
use mica_storage_api::sys::as_owner;
use mica_storage_api::userns::{self, IdRange};
use mica_storage_api::{Error, ErrorKind, Host, OpenArgs, Result, ResultExt, Whiteout, idmap, tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, fsetxattr, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::changes::is_opaque;
use crate::driver::whiteout_style;
use crate::mapped::Mapped;
use crate::stack::{Interface, Lower, Stack, Upper};

const DIR: &str = "probe";

/// What works here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) interface: Interface,
    pub(crate) volatile: bool,
    /// Whether the ids of all directories can be mapped.
    pub(crate) mapped: bool,
}

impl Found {
    /// The driver's line about itself, which an engine that has seen it may give back in place of another probe.
    pub(crate) fn detail(self) -> String {
        let volatile = if self.volatile { ", volatile" } else { "" };
        format!("mounts by {}{volatile}, {}", self.interface.name(), idmap::words(self.mapped))
    }

    /// The same back from the line; `None` when this driver has never said that.
    pub(crate) fn from_detail(detail: &str) -> Option<Self> {
        let both = [true, false];
        let possible = Interface::NEWEST_FIRST.into_iter().flat_map(|interface| {
            both.into_iter().flat_map(move |volatile| both.map(|mapped| Self { interface, volatile, mapped }))
        });
        possible.into_iter().find(|found: &Self| found.detail() == detail)
    }
}

/// Probes the root, by one interface or by all of them until one works.
pub(crate) fn run(host: Host, args: &OpenArgs<'_>, empty: BorrowedFd<'_>, only: Option<Interface>) -> Result<Found> {
    // One name for all processes, so that what a kill leaves behind is cleared by the next probe.
    let _alone = host.lock("overlay-probe", LockMode::Exclusive)?;
    tree::remove(args.root, c"probe", None)?;
    let ground = Ground::new(args)?;
    let found = ground.try_all(host, args, empty, only);
    drop(ground);
    tree::remove(args.root, c"probe", None)?;
    found
}

struct Ground {
    top: OwnedFd,
    upper: OwnedFd,
    work: OwnedFd,
}

impl Ground {
    fn new(args: &OpenArgs<'_>) -> Result<Self> {
        let make = |parent: BorrowedFd<'_>, name: &str| {
            mkdirat(parent, name, Mode::RWXU)
                .and_then(|()| open_dir(parent, name))
                .during(|| format!("make `{name}` to probe the driver root"))
        };
        let top = make(args.root, DIR)?;
        let (lower, upper, work) =
            (make(top.as_fd(), "lower")?, make(top.as_fd(), "upper")?, make(top.as_fd(), "work")?);
        // Of its own, because a work directory that a volatile mount has used is not used again.
        make(top.as_fd(), "mapped-work")?;
        make(lower.as_fd(), "deleted")?;
        make(lower.as_fd(), "replaced")?;
        let attribute = match whiteout_style(args.rootless) {
            Whiteout::OverlayUser => "user.overlay.opaque",
            _ => "trusted.overlay.opaque",
        };
        match fsetxattr(&upper, attribute, b"n", XattrFlags::empty()) {
            Ok(()) => Ok(Self { top, upper, work }),
            Err(Errno::OPNOTSUPP) => Err(Error::new(
                ErrorKind::IncompatibleFs,
                format!(
                    "`{}` lies on a file system without `{}` attributes; put the store on ext4, xfs, btrfs, or tmpfs of Linux 6.6 or later",
                    args.root_path.display(),
                    attribute.trim_end_matches(".opaque")
                ),
            )),
            Err(Errno::PERM) => Err(privilege(args)),
            Err(errno) => Err(Error::os(errno, format_args!("set `{attribute}` to probe the driver root"))),
        }
    }

    fn try_all(
        &self,
        host: Host,
        args: &OpenArgs<'_>,
        empty: BorrowedFd<'_>,
        only: Option<Interface>,
    ) -> Result<Found> {
        let mut first_refusal = None;
        for interface in
            Interface::NEWEST_FIRST.into_iter().filter(|interface| only.is_none_or(|only| only == *interface))
        {
            // Volatile first: unmounting an ordinary overlay flushes the whole file system below, 0.2 to 700 ms.
            for volatile in [true, false] {
                let upper = Upper { dir: self.upper.as_fd(), work: self.work.as_fd(), volatile };
                let stack = Stack {
                    lowers: &[Lower { parent: self.top.as_fd(), name: "lower" }],
                    empty,
                    upper: Some(upper),
                    read_only: false,
                    userxattr: args.rootless,
                    selinux_label: None,
                    owner: None,
                    root: args.root,
                    host,
                };
                match stack.mount(interface) {
                    Ok(mount) => {
                        self.exercise(mount.as_fd(), whiteout_style(args.rootless))?;
                        drop(mount);
                        let mapped = !args.rootless && self.try_mapped(stack, interface).unwrap_or(false);
                        return Ok(Found { interface, volatile, mapped });
                    }
                    Err(error) => {
                        if !may_have_another_way(&error) {
                            return Err(refusal(args, error));
                        }
                        first_refusal.get_or_insert(error);
                    }
                }
            }
        }
        let error = first_refusal.unwrap_or_else(|| Error::unsupported("every mount interface"));
        Err(refusal(args, error))
    }

    /// Whether what is written through mapped ids arrives as what it stands for.
    fn try_mapped(&self, stack: Stack<'_>, interface: Interface) -> Result<bool> {
        let all = [IdRange { inside: 0, outside: 1, count: 1 }];
        let made = userns::make(&all, &all, false).map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("make a user namespace to probe with: {error}"))
        })?;
        let mapped = Mapped::new(self.top.as_fd(), made.user.as_fd())?;
        let (lower, upper, work) = (mapped.dir(".")?, mapped.dir("upper")?, mapped.dir("mapped-work")?);
        let volatile = stack.upper.is_some_and(|upper| upper.volatile);
        let upper = Upper { dir: upper.as_fd(), work: work.as_fd(), volatile };
        let lowers = [Lower { parent: lower.as_fd(), name: "lower" }];
        let stack = Stack { lowers: &lowers, upper: Some(upper), owner: Some(mapped.owner), ..stack };
        let mount = stack.mount(interface)?;
        let (uid, gid) = mapped.owner;
        as_owner(uid, gid, || mkdirat(&mount, "mapped", Mode::RWXU))
            .and_then(|made| made)
            .during(|| "make a directory through an overlay with mapped ids")?;
        let written = statat(&self.upper, "mapped", AtFlags::SYMLINK_NOFOLLOW).during(|| "look at what was made")?;
        Ok((written.st_uid, written.st_gid) == (0, 0))
    }

    /// Writes, deletes and replaces through the mount, and looks for what that must leave in the upper directory.
    fn exercise(&self, mount: BorrowedFd<'_>, style: Whiteout) -> Result<()> {
        let probing = |what: &'static str| move || format!("{what} through a probing overlay mount");
        openat(mount, "written", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)
            .during(probing("create a file"))?;
        unlinkat(mount, "deleted", AtFlags::REMOVEDIR).during(probing("delete a directory"))?;
        unlinkat(mount, "replaced", AtFlags::REMOVEDIR).during(probing("delete a directory"))?;
        mkdirat(mount, "replaced", Mode::RWXU).during(probing("make a deleted directory again"))?;

        let unfit =
            |what: &str| Error::new(ErrorKind::IncompatibleFs, format!("an overlay mount works here, but {what}"));
        statat(&self.upper, "written", AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| unfit("what is written through it does not arrive below"))?;
        let whiteout = statat(&self.upper, "deleted", AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| unfit("a deletion leaves no whiteout"))?;
        if FileType::from_raw_mode(whiteout.st_mode) != FileType::CharacterDevice || whiteout.st_rdev != 0 {
            return Err(unfit("a deletion leaves something other than a character device 0:0"));
        }
        if !is_opaque(self.upper.as_fd(), c"replaced", style).during(probing("read attributes"))? {
            return Err(unfit("a replaced directory is not marked opaque"));
        }
        Ok(())
    }
}

/// Whether the kernel's answer can mean "not by this interface".
fn may_have_another_way(error: &Error) -> bool {
    let elsewhere =
        [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::BADF, Errno::NOTBLK, Errno::NOENT, Errno::XDEV];
    elsewhere.iter().any(|errno| error.errno == Some(errno.raw_os_error()))
}

/// The same failure as one of the three ways to decline, with what to do about it.
fn refusal(args: &OpenArgs<'_>, error: Error) -> Error {
    match error.errno.map(Errno::from_raw_os_error) {
        Some(Errno::NODEV) => Error {
            kind: ErrorKind::Prerequisite,
            message: format!("the kernel has no overlay file system; try `modprobe overlay` ({error})"),
            ..error
        },
        Some(Errno::PERM | Errno::ACCESS) => {
            Error { message: format!("{} ({error})", privilege(args).message), kind: ErrorKind::Prerequisite, ..error }
        }
        Some(Errno::NOSYS) => Error {
            kind: ErrorKind::NotSupported,
            message: format!("the kernel is too old for detached mounts ({error})"),
            ..error
        },
        Some(Errno::INVAL | Errno::OPNOTSUPP) => Error {
            kind: ErrorKind::IncompatibleFs,
            message: format!(
                "`{}` cannot hold overlay directories; put the store on ext4, btrfs, tmpfs, or xfs made with `ftype=1` ({error})",
                args.root_path.display()
            ),
            ..error
        },
        _ => error,
    }
}

fn privilege(args: &OpenArgs<'_>) -> Error {
    let remedy = if args.rootless {
        "unprivileged overlay mounts need Linux 5.11 or later"
    } else {
        "run as root or in a user namespace"
    };
    Error::new(ErrorKind::Prerequisite, format!("the kernel does not let this user mount an overlay; {remedy}"))
}
