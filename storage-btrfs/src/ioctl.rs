//! The btrfs ioctls the driver needs, as safe functions over directory descriptors. All unsafe code of the crate is here.
//!
//! Structures and numbers are those of the kernel's `include/uapi/linux/btrfs.h`. Nothing here recurses or decides:
//! which subvolume to make, freeze or destroy is the business of the other modules.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

/// The inode number of the root directory of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
pub(crate) const SUBVOLUME_ROOT_INODE: u64 = 256;

/// Whether a new snapshot can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// `BTRFS_SUBVOL_RDONLY` is set.
    ReadOnly,
    /// An ordinary subvolume.
    Writable,
}

/// A subvolume that hangs somewhere below another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child {
    tree: u64,
    directory: u64,
}

const MAGIC: u8 = 0x94;
const READ_ONLY: u64 = 1 << 1;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
#[derive(Debug)]
struct Volume {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`, with the quota union as the unused words it stays here.
#[repr(C)]
#[derive(Debug)]
struct VolumeV2 {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_get_subvol_rootref_args`.
#[repr(C)]
#[derive(Debug)]
struct RootRefs {
    minimum: u64,
    refs: [[u64; 2]; 255],
    count: u8,
    padding: [u8; 7],
}

/// `struct btrfs_ioctl_ino_lookup_user_args`.
#[repr(C)]
#[derive(Debug)]
struct Lookup {
    directory: u64,
    tree: u64,
    name: [u8; 256],
    path: [u8; 3824],
}

// The kernel computes the same numbers from its own sizes, so a wrong layout is refused with ENOTTY and not misread.
const DESTROY: Opcode = opcode::write::<Volume>(MAGIC, 15);
const SNAPSHOT: Opcode = opcode::write::<VolumeV2>(MAGIC, 23);
const CREATE: Opcode = opcode::write::<VolumeV2>(MAGIC, 24);
const GET_FLAGS: Opcode = opcode::read::<u64>(MAGIC, 25);
const SET_FLAGS: Opcode = opcode::write::<u64>(MAGIC, 26);
const ROOT_REFS: Opcode = opcode::read_write::<RootRefs>(MAGIC, 61);
const LOOKUP_USER: Opcode = opcode::read_write::<Lookup>(MAGIC, 62);

/// Makes the empty subvolume `name` in `directory`.
pub(crate) fn create(directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    set::<CREATE, _>(directory, volume_v2(0, 0, name)?)
}

/// Makes `name` in `directory` a snapshot of the subvolume `source`.
pub(crate) fn snapshot(source: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &[u8], access: Access) -> Result<()> {
    let flags = match access {
        Access::ReadOnly => READ_ONLY,
        Access::Writable => 0,
    };
    set::<SNAPSHOT, _>(directory, volume_v2(i64::from(source.as_raw_fd()), flags, name)?)
}

/// Unlinks the subvolume `name` from `directory`; its extents are freed by the kernel's cleaner. Children make it fail.
pub(crate) fn destroy(directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    set::<DESTROY, _>(directory, Volume { fd: 0, name: padded(name)? })
}

/// Sets or clears the read-only property of a subvolume.
pub(crate) fn set_access(subvolume: BorrowedFd<'_>, access: Access) -> Result<()> {
    let old = get::<GET_FLAGS, u64>(subvolume)?;
    let new = match access {
        Access::ReadOnly => old | READ_ONLY,
        Access::Writable => old & !READ_ONLY,
    };
    if new == old { Ok(()) } else { set::<SET_FLAGS, _>(subvolume, new) }
}

/// The subvolumes directly below `subvolume`, wherever they hang.
pub(crate) fn children(subvolume: BorrowedFd<'_>) -> Result<Vec<Child>> {
    let mut found = Vec::new();
    let mut request = RootRefs { minimum: 0, refs: [[0; 2]; 255], count: 0, padding: [0; 7] };
    loop {
        let answer = update::<ROOT_REFS, _>(subvolume, &mut request);
        if !matches!(answer, Ok(()) | Err(Errno::OVERFLOW)) {
            answer?;
        }
        let filled = request.refs.iter().take(usize::from(request.count));
        found.extend(filled.map(|&[tree, directory]| Child { tree, directory }));
        // EOVERFLOW says that 255 were returned and that `minimum` was moved on to the next one.
        if answer.is_ok() {
            return Ok(found);
        }
    }
}

/// Where `child` hangs: the directory relative to `subvolume` (empty for its root), and the name in it.
pub(crate) fn locate(subvolume: BorrowedFd<'_>, child: Child) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut request = Lookup { directory: child.directory, tree: child.tree, name: [0; 256], path: [0; 3824] };
    update::<LOOKUP_USER, _>(subvolume, &mut request)?;
    Ok((until_nul(&request.path), until_nul(&request.name)))
}

fn volume_v2(fd: i64, flags: u64, name: &[u8]) -> Result<VolumeV2> {
    Ok(VolumeV2 { fd, transaction: 0, flags, unused: [0; 4], name: padded(name)? })
}

fn padded<const N: usize>(name: &[u8]) -> Result<[u8; N]> {
    // BTRFS_VOL_NAME_MAX; and an embedded NUL would make the kernel act on a shorter name than was asked for.
    if name.is_empty() || name.len() > 255 || name.contains(&0) || name.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    let mut buffer = [0; N];
    buffer[..name.len()].copy_from_slice(name);
    Ok(buffer)
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|&byte| byte != 0).collect()
}

#[expect(unsafe_code, reason = "rustix has no btrfs ioctls; the operand type is part of every opcode above")]
fn set<const OPCODE: Opcode, T>(fd: BorrowedFd<'_>, operand: T) -> Result<()> {
    // SAFETY: OPCODE is one of the constants above, which encode the direction "write" and the size of T, and T is the
    // `repr(C)` image of the kernel's structure (or u64). The kernel reads it and writes nothing back. On a descriptor
    // that is not btrfs the number is unknown or means an operation of the same direction and size, so memory is safe.
    unsafe { ioctl(fd, Setter::<OPCODE, T>::new(operand)) }
}

#[expect(unsafe_code, reason = "rustix has no btrfs ioctls; the operand type is part of every opcode above")]
fn get<const OPCODE: Opcode, T>(fd: BorrowedFd<'_>) -> Result<T> {
    // SAFETY: used for GET_FLAGS only, whose operand is a plain u64 that the kernel fills completely on success.
    unsafe { ioctl(fd, Getter::<OPCODE, T>::new()) }
}

#[expect(unsafe_code, reason = "rustix has no btrfs ioctls; the operand type is part of every opcode above")]
fn update<const OPCODE: Opcode, T>(fd: BorrowedFd<'_>, operand: &mut T) -> Result<()> {
    // SAFETY: as for `set`; T consists of integers only, so whatever the kernel stores in it is a valid value.
    unsafe { ioctl(fd, Updater::<OPCODE, T>::new(operand)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_equal_the_kernel_header() {
        // Printed by a C program that includes <linux/btrfs.h> on x86_64.
        assert_eq!(DESTROY, 0x5000_940f);
        assert_eq!(SNAPSHOT, 0x5000_9417);
        assert_eq!(CREATE, 0x5000_9418);
        assert_eq!(GET_FLAGS, 0x8008_9419);
        assert_eq!(SET_FLAGS, 0x4008_941a);
        assert_eq!(ROOT_REFS, 0xd000_943d);
        assert_eq!(LOOKUP_USER, 0xd000_943e);
    }

    #[test]
    fn names_the_kernel_would_misread_are_refused() {
        for name in [&b""[..], b"a/b", b"a\0b", &[b'x'; 256]] {
            assert_eq!(padded::<4040>(name), Err(Errno::INVAL), "{name:?}");
        }
        assert_eq!(padded::<4088>(b"ok").map(|bytes| until_nul(&bytes)), Ok(b"ok".to_vec()));
    }
}
