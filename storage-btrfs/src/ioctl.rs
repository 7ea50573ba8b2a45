//! The btrfs ioctls the driver needs, as safe functions over directory descriptors. All unsafe code of the crate is here.
//!
//! Structures and numbers are those of the kernel's `include/uapi/linux/btrfs.h`. Nothing here recurses or decides:
//! which subvolume to make, freeze or destroy is the business of the other modules.

use std::collections::HashSet;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

/// The inode number of the root directory of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
pub(crate) const SUBVOLUME_ROOT_INODE: u64 = 256;

/// The limit that clears a group's.
pub(crate) const NO_LIMIT: u64 = u64::MAX;

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

/// The start of `struct btrfs_ioctl_fs_info_args`; the rest is not looked at.
#[repr(C)]
#[derive(Debug)]
struct FilesystemInfo {
    highest_device: u64,
    devices: u64,
    id: [u8; 16],
    rest: [u64; 124],
}

/// `struct btrfs_ioctl_get_subvol_info_args`; of the rest nothing is looked at.
#[repr(C)]
#[derive(Debug)]
struct SubvolumeInfo {
    tree: u64,
    before: [u64; 43],
    made_in: u64,
    rest: [u64; 18],
}

/// `struct btrfs_ioctl_search_args_v2` without its buffer.
#[repr(C)]
#[derive(Debug)]
struct SearchHead {
    tree: u64,
    inodes: [u64; 2],
    offsets: [u64; 2],
    transactions: [u64; 2],
    kinds: [u32; 2],
    items: u32,
    unused: u32,
    reserved: [u64; 4],
    room: u64,
}

/// The same with its buffer, which holds several of the largest items.
#[repr(C)]
#[derive(Debug)]
struct Search {
    head: SearchHead,
    items: [u8; ROOM],
}

const ROOM: usize = 256 * 1024;

/// `struct btrfs_ioctl_search_header`, and the item.
struct Item<'a> {
    inode: u64,
    offset: u64,
    kind: u32,
    bytes: &'a [u8],
}

/// `struct btrfs_ioctl_quota_ctl_args`.
#[repr(C)]
#[derive(Debug)]
struct QuotaControl {
    command: u64,
    status: u64,
}

/// `struct btrfs_ioctl_qgroup_create_args`.
#[repr(C)]
#[derive(Debug)]
struct GroupCreate {
    create: u64,
    group: u64,
}

/// `struct btrfs_ioctl_qgroup_assign_args`.
#[repr(C)]
#[derive(Debug)]
struct GroupAssign {
    assign: u64,
    member: u64,
    group: u64,
}

/// `struct btrfs_ioctl_qgroup_limit_args`.
#[repr(C)]
#[derive(Debug)]
struct GroupLimit {
    group: u64,
    flags: u64,
    referenced: u64,
    exclusive: u64,
    reserved: [u64; 2],
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
const FS_INFO: Opcode = opcode::read::<FilesystemInfo>(MAGIC, 31);
const SYNC: Opcode = opcode::none(MAGIC, 8);
const TREE_SEARCH: Opcode = opcode::read_write::<SearchHead>(MAGIC, 17);
const QUOTA_CTL: Opcode = opcode::read_write::<QuotaControl>(MAGIC, 40);
const QGROUP_ASSIGN: Opcode = opcode::write::<GroupAssign>(MAGIC, 41);
const QGROUP_CREATE: Opcode = opcode::write::<GroupCreate>(MAGIC, 42);
// The header says "read" although the kernel reads; the number is what counts.
const QGROUP_LIMIT: Opcode = opcode::read::<GroupLimit>(MAGIC, 43);
const SUBVOLUME_INFO: Opcode = opcode::read::<SubvolumeInfo>(MAGIC, 60);
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

/// The number of the subvolume that a directory lies in.
pub(crate) fn subvolume_id(subvolume: BorrowedFd<'_>) -> Result<u64> {
    Ok(get::<SUBVOLUME_INFO, SubvolumeInfo>(subvolume)?.tree)
}

/// Writes back what the file system holds in memory, and ends its transaction.
pub(crate) fn sync(dir: BorrowedFd<'_>) -> Result<()> {
    set::<SYNC, _>(dir, 0u64)
}

/// The inodes that a transaction after the one in which the subvolume was made has changed.
pub(crate) fn inodes_changed_since_made(subvolume: BorrowedFd<'_>) -> Result<HashSet<u64>> {
    let SubvolumeInfo { tree, made_in, .. } = get::<SUBVOLUME_INFO, SubvolumeInfo>(subvolume)?;
    let mut found = HashSet::new();
    search(subvolume, tree, [SUBVOLUME_ROOT_INODE, LAST_INODE], [INODE_ITEM; 2], made_in + 1, &mut |item| {
        // What shares a leaf with a changed item is found too. `struct btrfs_inode_item` begins with the transaction that
        // made the inode and the one that changed it last.
        let changed_in = item.bytes.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        if item.kind == INODE_ITEM && changed_in > made_in {
            found.insert(item.inode);
        }
    })?;
    Ok(found)
}

/// The directories in which an inode has a name.
pub(crate) fn parents(subvolume: BorrowedFd<'_>, inode: u64) -> Result<Vec<u64>> {
    let tree = subvolume_id(subvolume)?;
    let mut found = Vec::new();
    search(subvolume, tree, [inode; 2], [INODE_REF, INODE_EXTREF], 0, &mut |item| match item.kind {
        INODE_REF => found.push(item.offset),
        // The offset of an overflowing reference is a hash; each name in it begins with its directory and is 18 bytes longer
        // than itself.
        INODE_EXTREF => {
            let mut rest = item.bytes;
            while let (Some(parent), Some(length)) = (rest.get(..8), rest.get(16..18)) {
                found.extend(parent.try_into().map(u64::from_le_bytes));
                let length = length.try_into().map_or(0, u16::from_le_bytes);
                rest = rest.get(18 + usize::from(length)..).unwrap_or_default();
            }
        }
        _ => {}
    })?;
    Ok(found)
}

/// The UUID of the file system, by which sysfs names it.
pub(crate) fn filesystem_id(dir: BorrowedFd<'_>) -> Result<[u8; 16]> {
    Ok(get::<FS_INFO, FilesystemInfo>(dir)?.id)
}

/// Turns simple quotas on for the whole file system.
pub(crate) fn enable_simple_quotas(dir: BorrowedFd<'_>) -> Result<()> {
    const ENABLE_SIMPLE: u64 = 4;
    update::<QUOTA_CTL, _>(dir, &mut QuotaControl { command: ENABLE_SIMPLE, status: 0 })
}

/// Makes a quota group.
pub(crate) fn create_group(dir: BorrowedFd<'_>, group: u64) -> Result<()> {
    set::<QGROUP_CREATE, _>(dir, GroupCreate { create: 1, group })
}

/// Removes a quota group; EBUSY while it has members.
pub(crate) fn remove_group(dir: BorrowedFd<'_>, group: u64) -> Result<()> {
    set::<QGROUP_CREATE, _>(dir, GroupCreate { create: 0, group })
}

/// Makes `member` count in `group`; EINVAL when one of them does not exist.
pub(crate) fn join_group(dir: BorrowedFd<'_>, member: u64, group: u64) -> Result<()> {
    set::<QGROUP_ASSIGN, _>(dir, GroupAssign { assign: 1, member, group })
}

/// The reverse of [`join_group`].
pub(crate) fn leave_group(dir: BorrowedFd<'_>, member: u64, group: u64) -> Result<()> {
    set::<QGROUP_ASSIGN, _>(dir, GroupAssign { assign: 0, member, group })
}

/// Limits the bytes that count in a group.
pub(crate) fn limit_group(dir: BorrowedFd<'_>, group: u64, bytes: u64) -> Result<()> {
    const MAX_REFERENCED: u64 = 1 << 0;
    let limit = GroupLimit { group, flags: MAX_REFERENCED, referenced: bytes, exclusive: 0, reserved: [0; 2] };
    set::<QGROUP_LIMIT, _>(dir, limit)
}

const INODE_ITEM: u32 = 1;
const INODE_REF: u32 = 12;
const INODE_EXTREF: u32 = 13;
/// `BTRFS_LAST_FREE_OBJECTID`.
const LAST_INODE: u64 = u64::MAX - 256 + 1;

/// Yields the items of a tree between two keys, from leaves that this transaction or a later one has written.
fn search(
    dir: BorrowedFd<'_>,
    tree: u64,
    inodes: [u64; 2],
    kinds: [u32; 2],
    transaction: u64,
    then: &mut dyn FnMut(&Item<'_>),
) -> Result<()> {
    let mut request = Box::new(Search {
        head: SearchHead {
            tree,
            inodes,
            offsets: [0, u64::MAX],
            transactions: [transaction, u64::MAX],
            kinds,
            items: 0,
            unused: 0,
            reserved: [0; 4],
            room: ROOM as u64,
        },
        items: [0; ROOM],
    });
    loop {
        request.head.items = u32::MAX;
        update::<TREE_SEARCH, _>(dir, &mut *request)?;
        let mut rest = &request.items[..];
        let mut last = None;
        for _ in 0..request.head.items {
            let Some((item, left)) = next_item(rest) else { return Err(Errno::IO) };
            then(&item);
            last = Some((item.inode, item.kind, item.offset));
            rest = left;
        }
        // The least key after the last one; keys are ordered by inode, kind and offset.
        let head = &mut request.head;
        match last {
            None => return Ok(()),
            Some((inode, kind, offset)) if offset < u64::MAX => {
                (head.inodes[0], head.kinds[0], head.offsets[0]) = (inode, kind, offset + 1);
            }
            Some((inode, kind, _)) => (head.inodes[0], head.kinds[0], head.offsets[0]) = (inode, kind + 1, 0),
        }
    }
}

/// Splits the first item off.
fn next_item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let half = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let end = 32 + half(28)? as usize;
    let item = Item { inode: word(8)?, offset: word(16)?, kind: half(24)?, bytes: bytes.get(32..end)? };
    Some((item, &bytes[end..]))
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
    // SAFETY: used for operands that consist of integers only and that the kernel fills completely on success: GET_FLAGS,
    // FS_INFO and SUBVOLUME_INFO copy the whole structure out.
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
        assert_eq!(FS_INFO, 0x8400_941f);
        assert_eq!(SYNC, 0x9408);
        assert_eq!(TREE_SEARCH, 0xc070_9411);
        assert_eq!(QUOTA_CTL, 0xc010_9428);
        assert_eq!(QGROUP_ASSIGN, 0x4018_9429);
        assert_eq!(QGROUP_CREATE, 0x4010_942a);
        assert_eq!(QGROUP_LIMIT, 0x8030_942b);
        assert_eq!(SUBVOLUME_INFO, 0x81f8_943c);
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
