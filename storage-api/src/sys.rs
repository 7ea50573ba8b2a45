//! Kernel calls that no dependency wraps.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

bitflags::bitflags! {
    /// Attributes of a mount, `MOUNT_ATTR_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountAttr: u64 {
        /// Nothing may be written.
        const RDONLY = libc::MOUNT_ATTR_RDONLY;
        /// No set-user-ID.
        const NOSUID = libc::MOUNT_ATTR_NOSUID;
        /// No devices.
        const NODEV = libc::MOUNT_ATTR_NODEV;
        /// No execution.
        const NOEXEC = libc::MOUNT_ATTR_NOEXEC;
        /// Access times are not kept.
        const NOATIME = libc::MOUNT_ATTR_NOATIME;
    }
}

/// Sets attributes of a detached mount, makes it private, and maps its ids through a user namespace where one is given.
///
/// Private matters: a clone of a shared mount is its peer, and what the container mounts later would appear on the host.
#[expect(unsafe_code, reason = "mount_setattr(2) is in neither rustix nor nix")]
pub fn mount_setattr(mount: BorrowedFd<'_>, set: MountAttr, idmap_userns: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: set.bits() | if idmap_userns.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: if set.contains(MountAttr::NOATIME) { libc::MOUNT_ATTR__ATIME } else { 0 },
        propagation: libc::MS_PRIVATE,
        userns_fd: idmap_userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the descriptors are open for the call, the path is an empty C string, and the kernel only reads `attr`, whose
    // size is given.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if outcome == 0 { Ok(()) } else { Err(last_errno()) }
}

/// A mount of a directory that is attached nowhere and private, with these attributes: all a driver of plain directories
/// needs to mount.
pub fn clone_mount(dir: BorrowedFd<'_>, set: MountAttr) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = rustix::mount::open_tree(dir, c"", flags)?;
    mount_setattr(mount.as_fd(), set, None)?;
    Ok(mount)
}

/// Lets the disk begin with what has been written to a file, and waits until it has it. Nothing is durable by that: neither the
/// disk's own cache nor where the bytes are has been flushed, so an `fdatasync` has to follow, which then has little to do.
#[expect(unsafe_code, reason = "sync_file_range(2) is in neither rustix nor nix")]
pub fn write_back(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the descriptor is open for the call, and no memory is handed over.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Does work as the owner of the files that it makes, with all capabilities that this thread has.
///
/// The kernel refuses with EOVERFLOW to make a file on a mount with mapped ids for an owner whom the mapping does not have, and
/// root of the machine is one.
pub fn as_owner<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> Result<T, Errno> {
    let _back = Owner::become_owner(uid, gid)?;
    Ok(work())
}

/// The way back to root and to all capabilities, which is also taken when the work panics.
struct Owner(CapabilitySets);

impl Owner {
    fn become_owner(uid: u32, gid: u32) -> Result<Self, Errno> {
        let had = capabilities(None)?;
        let back = Self(had);
        set_file_owner(uid, gid);
        // An owner other than root loses the capabilities that are about files, and they are wanted.
        set_capabilities(None, had)?;
        Ok(back)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        set_file_owner(0, 0);
        // It had them a moment ago, and nothing was taken from the permitted set meanwhile.
        let _ = set_capabilities(None, self.0);
    }
}

/// Both calls are about this thread alone, and tell no failure: what is made afterwards says it.
#[expect(unsafe_code, reason = "setfsuid(2) and setfsgid(2) are not in rustix")]
fn set_file_owner(uid: u32, gid: u32) {
    // SAFETY: two numbers go in, and no memory is touched. The C library does not carry these two over to other threads.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_back_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, &[7; 100_000]).unwrap();
        assert_eq!(write_back(file.as_fd()), Ok(()));
        let (_reader, writer) = std::io::pipe().unwrap();
        assert_eq!(write_back(writer.as_fd()), Err(Errno::SPIPE));
    }
}
