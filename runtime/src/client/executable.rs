//! The monitor's executable, opened so that no container can overwrite it.
//!
//! A process that enters a container shows its executable there as `/proc/<pid>/exe`, and a container's root can make it
//! run that very file (`#!/proc/self/exe`), keep it open and write to it once it no longer runs (CVE-2019-5736). The
//! monitor therefore runs from a detached read-only mount of its own file: opening costs two system calls and no copy,
//! and a container has no path to the mount by which it could be made writable.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

/// A descriptor to execute the file by, or `None` when the caller's privileges do not allow it; then the monitor has no
/// privileges either with which a container could hurt the file.
pub fn open_unwritable(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = match rustix::mount::open_tree(CWD, path, flags) {
        Ok(mount) => mount,
        Err(rustix::io::Errno::PERM) => return Ok(None),
        Err(rustix::io::Errno::NOSYS) => return sealed_copy(path).map(Some),
        Err(error) => return Err(error.into()),
    };
    match set_readonly(&mount) {
        Ok(()) => Ok(Some(mount)),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => sealed_copy(path).map(Some),
        Err(error) => Err(error),
    }
}

#[expect(unsafe_code, reason = "neither rustix nor nix has mount_setattr")]
fn set_readonly(mount: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the empty path is a NUL-terminated string and `attributes` lives across the call; the kernel reads exactly
    // the size passed and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// For kernels before 5.12: a copy in memory that nobody can write to any more.
fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let copy = rustix::fs::memfd_create("mica-monitor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut target = File::from(copy);
    io::copy(&mut fs_err::File::open(path)?, &mut target)?;
    rustix::fs::fcntl_add_seals(&target, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(target.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_has_the_bytes_and_refuses_writes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), b"monitor").unwrap();
        let copy = sealed_copy(file.path()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::pread(&copy, &mut buffer, 0).unwrap(), 7);
        assert_eq!(rustix::io::pwrite(&copy, b"x", 0), Err(rustix::io::Errno::PERM));
    }
}
