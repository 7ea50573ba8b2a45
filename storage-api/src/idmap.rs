//! Id-mapped mounts: a tree shows other owners than it has, and what is written through it is kept with the owners that the
//! mapping stands for. So one tree of an image serves containers of any user namespace, and not a file of it is touched.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layout::filesystem_name;
use crate::sys::{MountAttr, mount_setattr};
use crate::userns::{self, IdRange};

/// A mount of a directory that is attached nowhere and private, with these attributes, and with its ids mapped.
pub fn clone_mapped(dir: BorrowedFd<'_>, set: MountAttr, userns: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(dir, c"", flags).during(|| "make a mount whose ids are to be mapped")?;
    mount_setattr(mount.as_fd(), set, Some(userns)).map_err(|errno| explain(dir, errno))?;
    Ok(mount)
}

/// Who root of the mapping is outside: the owner that a file of root has in a tree with mapped ids. `root_owned` is the root
/// of such a tree, which belongs to root on the disk.
pub fn mapped_root(root_owned: BorrowedFd<'_>) -> Result<(u32, u32)> {
    let shown = rustix::fs::fstat(root_owned).during(|| "look at a mount with mapped ids")?;
    let nobody = |file: &str| -> Option<u32> {
        let mut text = [0; 16];
        let file = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let length = rustix::io::read(&file, &mut text[..]).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
    };
    let unmapped = nobody("/proc/sys/kernel/overflowuid") == Some(shown.st_uid)
        || nobody("/proc/sys/kernel/overflowgid") == Some(shown.st_gid);
    if unmapped {
        return Err(Error::new(
            ErrorKind::Invalid,
            "the mapping of ids leaves out 0, to whom a root file system belongs; map it too",
        ));
    }
    Ok((shown.st_uid, shown.st_gid))
}

/// Whether the file system of a driver's root takes mapped ids, by trying. Leaves nothing behind, and takes a quarter of a
/// millisecond.
pub fn works(root: BorrowedFd<'_>) -> bool {
    let all = [IdRange { inside: 0, outside: 1, count: 1 }];
    let Ok(made) = userns::make(&all, &all, false) else { return false };
    clone_mapped(root, MountAttr::empty(), made.user.as_fd()).is_ok()
}

/// How a driver's line about itself ends when it says whether [`works`].
pub fn words(mapped: bool) -> &'static str {
    if mapped { "ids mapped" } else { "ids not mapped" }
}

/// What such a line says, which an engine that has seen it may give back in place of another try.
pub fn said_in(detail: &str) -> Option<bool> {
    [true, false].into_iter().find(|mapped| detail.ends_with(words(*mapped)))
}

/// EINVAL says nothing, and means one thing here.
fn explain(dir: BorrowedFd<'_>, errno: Errno) -> Error {
    let shown = filesystem_name(dir).unwrap_or_else(|_| "this file system".to_owned());
    let message = match errno {
        Errno::INVAL => format!(
            "the kernel cannot map the ids of files on {shown}; put the store on ext4, xfs, btrfs or tmpfs, or share the host's user namespace"
        ),
        Errno::NOSYS => "the kernel cannot map the ids of mounts; that takes Linux 5.12 or later".to_owned(),
        Errno::PERM => {
            "the kernel lets only root of the machine map the ids of a mount; share the user namespace of the caller"
                .to_owned()
        }
        errno => return Error::os(errno, "map the ids of a mount"),
    };
    Error { errno: Some(errno.raw_os_error()), ..Error::new(ErrorKind::Unsupported, message) }
}
