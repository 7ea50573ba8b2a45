//! Project quotas of xfs and ext4: a directory tree with a limit of its own, for drivers of plain directories.
//!
//! An inode that is made in a directory of a project with `FS_XFLAG_PROJINHERIT` belongs to the project too, so a tree is
//! limited by what is done to its empty root. Both file systems speak the X calls of `quotactl_fd(2)` (Linux 5.14).
//!
//! A project is a number that nobody hands out: other stores and other programs on the file system choose theirs as well.
//! Ours comes from the directory's inode number, which no other directory has meanwhile, and as it is longer than a project's
//! number it is claimed and then looked at: whoever has put their directory into the project and finds one inode in it, has
//! it alone; whoever finds more tries another. Any later claimant finds two. So no lock is needed, between stores either,
//! and nothing is written down: a project ends with its last inode.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Our projects have this bit: administrators count from 1.
const OURS: u32 = 1 << 31;
const CLAIMS: u32 = 64;

/// Why no tree below `dir` can be limited; `Ok` when each can.
pub fn enforced(dir: BorrowedFd<'_>) -> Result<()> {
    let refuse = |reason: String| Err(Error::new(ErrorKind::Unsupported, reason));
    let mut state = State { version: 1, ..State::default() };
    let wanted = ACCOUNTED | ENFORCED;
    if quotactl(dir, GET_STATE, 0, &mut state).is_err() || state.flags & wanted != wanted {
        return refuse(
            "project quotas are not enforced on this file system; xfs has them when it is mounted with `prjquota`, and ext4 with the feature `project` and that option"
                .to_owned(),
        );
    }
    match attributes(dir) {
        // A tree of another project could not be renamed to its place (EXDEV).
        Ok(found) if found.flags & INHERIT != 0 => {
            refuse(format!("the store lies in the project {} already, which holds all that is in it", found.project))
        }
        Ok(_) => Ok(()),
        Err(errno) => Err(Error::os(errno, "ask for the project of the driver root")),
    }
}

/// Limits what is in the empty directory `dir`, itself included; 0 is no limit.
pub fn limit(dir: BorrowedFd<'_>, bytes: u64, inodes: u64) -> Result<()> {
    let inode = fstat(dir).during(|| "stat a directory that shall be limited")?.st_ino as u32;
    for attempt in 0..CLAIMS {
        // The golden ratio in 32 bits spreads what starts out near.
        let project = OURS | (inode.wrapping_add(attempt.wrapping_mul(0x9e37_79b1)) & 0x3fff_ffff);
        if members(dir, project).during(|| format!("ask for the use of project {project}"))? > 0 {
            continue;
        }
        join(dir, project, INHERIT).during(|| format!("put a directory into project {project}"))?;
        if members(dir, project).during(|| format!("ask for the use of project {project}"))? == 1 {
            return set_limits(dir, project, bytes, inodes).during(|| format!("limit project {project}"));
        }
    }
    let _ = join(dir, 0, 0);
    Err(Error::new(ErrorKind::Busy, format!("{CLAIMS} projects that were tried are in use")))
}

/// Ends the limit of a directory that is about to be deleted or is to be limited no longer, if it is one of ours.
pub fn lift(dir: BorrowedFd<'_>) -> Result<()> {
    match attributes(dir) {
        Ok(found) if found.project & OURS != 0 && found.flags & INHERIT != 0 => {
            set_limits(dir, found.project, 0, 0).during(|| format!("end the limit of project {}", found.project))
        }
        Ok(_) | Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(Error::os(errno, "ask for the project of a directory")),
    }
}

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Attributes {
    flags: u32,
    unused: [u32; 2],
    project: u32,
    rest: [u32; 3],
}

/// `struct fs_quota_statv` of `linux/dqblk_xfs.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct State {
    version: i8,
    padding: u8,
    flags: u16,
    cached: u32,
    files: [u64; 9],
    limits: [u32; 6],
    rest: [u64; 7],
}

/// `struct fs_disk_quota` of `linux/dqblk_xfs.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct Quota {
    version: i8,
    kind: i8,
    fields: u16,
    id: u32,
    blocks_hard: u64,
    blocks_soft: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    blocks: u64,
    inodes: u64,
    rest: [u64; 7],
}

const INHERIT: u32 = 0x200;
const GET_ATTRIBUTES: Opcode = opcode::read::<Attributes>(b'X', 31);
const SET_ATTRIBUTES: Opcode = opcode::write::<Attributes>(b'X', 32);

const ACCOUNTED: u16 = 1 << 4;
const ENFORCED: u16 = 1 << 5;
const GET_STATE: u32 = x(8);
const GET_QUOTA: u32 = x(3);
const SET_LIMITS: u32 = x(4);

/// `QCMD(XQM_CMD(number), PRJQUOTA)`.
const fn x(number: u32) -> u32 {
    (((b'X' as u32) << 8) + number) << 8 | 2
}

/// How many inodes a project has.
fn members(dir: BorrowedFd<'_>, project: u32) -> rustix::io::Result<u64> {
    let mut quota = Quota::default();
    match quotactl(dir, GET_QUOTA, project, &mut quota) {
        Ok(()) => Ok(quota.inodes),
        // Never used.
        Err(Errno::NOENT | Errno::SRCH) => Ok(0),
        Err(errno) => Err(errno),
    }
}

fn set_limits(dir: BorrowedFd<'_>, project: u32, bytes: u64, inodes: u64) -> rustix::io::Result<()> {
    const ALL_LIMITS: u16 = 0b1111;
    const PROJECT: i8 = 2;
    // In blocks of 512 bytes whatever the file system's are. One is the least: 0 would be no limit.
    let blocks = bytes.div_ceil(512);
    let mut quota = Quota {
        version: 1,
        kind: PROJECT,
        fields: ALL_LIMITS,
        id: project,
        blocks_hard: blocks,
        inodes_hard: inodes,
        ..Quota::default()
    };
    quotactl(dir, SET_LIMITS, project, &mut quota)
}

fn join(dir: BorrowedFd<'_>, project: u32, inherit: u32) -> rustix::io::Result<()> {
    let old = attributes(dir)?;
    let new = Attributes { flags: (old.flags & !INHERIT) | inherit, project, ..old };
    set_attributes(dir, new)
}

#[expect(unsafe_code, reason = "rustix has no FS_IOC_FSGETXATTR")]
fn attributes(dir: BorrowedFd<'_>) -> rustix::io::Result<Attributes> {
    // SAFETY: the opcode encodes the direction and the size of `Attributes`, integers only, which the kernel fills wholly.
    unsafe { ioctl(dir, Getter::<GET_ATTRIBUTES, Attributes>::new()) }
}

#[expect(unsafe_code, reason = "rustix has no FS_IOC_FSSETXATTR")]
fn set_attributes(dir: BorrowedFd<'_>, attributes: Attributes) -> rustix::io::Result<()> {
    // SAFETY: the opcode encodes the direction and the size of `Attributes`, which the kernel only reads.
    unsafe { ioctl(dir, Setter::<SET_ATTRIBUTES, Attributes>::new(attributes)) }
}

#[expect(unsafe_code, reason = "quotactl_fd(2) is in neither rustix nor nix")]
fn quotactl<T>(dir: BorrowedFd<'_>, command: u32, id: u32, argument: &mut T) -> rustix::io::Result<()> {
    // SAFETY: each command is used with the structure the kernel reads or writes for it, `State` or `Quota`, which consist
    // of integers only and live for the call; a test compares their sizes with the kernel's.
    let outcome =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, dir.as_raw_fd(), command, id, std::ptr::from_mut(argument)) };
    if outcome == 0 { Ok(()) } else { Err(crate::sys::last_errno()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn numbers_and_sizes_equal_the_kernel_headers() {
        // Printed by a C program that includes <linux/fs.h>, <linux/quota.h> and <linux/dqblk_xfs.h>.
        assert_eq!((GET_ATTRIBUTES, SET_ATTRIBUTES), (0x801c_581f, 0x401c_5820));
        assert_eq!((GET_STATE, GET_QUOTA, SET_LIMITS), (0x58_0802, 0x58_0302, 0x58_0402));
        assert_eq!((size_of::<State>(), size_of::<Quota>()), (160, 112));
    }

    #[test]
    fn a_file_system_without_projects_is_told_apart() {
        let shm = fs_err::File::open("/dev/shm").unwrap();
        let error = enforced(shm.as_fd()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.contains("prjquota"), "{error}");
        lift(shm.as_fd()).unwrap();
    }
}
