//! Which system calls change something, and what a stopped one is about to do.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

/// The arguments of a call, as registers.
pub type Arguments = [u64; 6];

/// What a call does to the world; it decides which errors it can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Makes a name, or room for bytes.
    Makes,
    /// Takes a name away or changes metadata.
    Changes,
    /// Writes bytes.
    Writes,
    /// Waits for the disk.
    Flushes,
    /// Takes or leaves a lock.
    Locks,
    /// Mounts, and what else is no business of a disk.
    Other,
}

/// Where a call has its paths.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Opens a path below a directory; `flags` is the argument that says whether it creates.
    Open { at: Option<u8>, path: u8, flags: Option<u8> },
    /// Works on a path, below a directory where the call has one.
    Path { at: Option<u8>, path: u8 },
    /// Works on a descriptor.
    Descriptor(u8),
    /// An ioctl: only those that clone or belong to btrfs change something.
    Control,
    /// Has no path.
    Bare,
}

/// One system call that may change something.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub number: i64,
    pub name: &'static str,
    pub class: Class,
    pub shape: Shape,
}

const fn kind(number: i64, name: &'static str, class: Class, shape: Shape) -> Kind {
    Kind { number, name, class, shape }
}

const fn path(path: u8) -> Shape {
    Shape::Path { at: None, path }
}

const fn at(at: u8, path: u8) -> Shape {
    Shape::Path { at: Some(at), path }
}

const fn fd(number: u8) -> Shape {
    Shape::Descriptor(number)
}

/// Every call that is stopped at.
pub const CALLS: &[Kind] = &[
    kind(libc::SYS_open, "open", Class::Makes, Shape::Open { at: None, path: 0, flags: Some(1) }),
    kind(libc::SYS_openat, "openat", Class::Makes, Shape::Open { at: Some(0), path: 1, flags: Some(2) }),
    kind(libc::SYS_openat2, "openat2", Class::Makes, Shape::Open { at: Some(0), path: 1, flags: None }),
    kind(libc::SYS_creat, "creat", Class::Makes, path(0)),
    kind(libc::SYS_write, "write", Class::Writes, fd(0)),
    kind(libc::SYS_pwrite64, "pwrite64", Class::Writes, fd(0)),
    kind(libc::SYS_writev, "writev", Class::Writes, fd(0)),
    kind(libc::SYS_pwritev, "pwritev", Class::Writes, fd(0)),
    kind(libc::SYS_pwritev2, "pwritev2", Class::Writes, fd(0)),
    kind(libc::SYS_sendfile, "sendfile", Class::Writes, fd(0)),
    kind(libc::SYS_copy_file_range, "copy_file_range", Class::Writes, fd(2)),
    kind(libc::SYS_splice, "splice", Class::Writes, fd(2)),
    kind(libc::SYS_ftruncate, "ftruncate", Class::Makes, fd(0)),
    kind(libc::SYS_truncate, "truncate", Class::Makes, path(0)),
    kind(libc::SYS_fallocate, "fallocate", Class::Makes, fd(0)),
    kind(libc::SYS_rename, "rename", Class::Makes, path(0)),
    kind(libc::SYS_renameat, "renameat", Class::Makes, at(0, 1)),
    kind(libc::SYS_renameat2, "renameat2", Class::Makes, at(0, 1)),
    kind(libc::SYS_unlink, "unlink", Class::Changes, path(0)),
    kind(libc::SYS_unlinkat, "unlinkat", Class::Changes, at(0, 1)),
    kind(libc::SYS_rmdir, "rmdir", Class::Changes, path(0)),
    kind(libc::SYS_mkdir, "mkdir", Class::Makes, path(0)),
    kind(libc::SYS_mkdirat, "mkdirat", Class::Makes, at(0, 1)),
    kind(libc::SYS_link, "link", Class::Makes, path(1)),
    kind(libc::SYS_linkat, "linkat", Class::Makes, at(2, 3)),
    kind(libc::SYS_symlink, "symlink", Class::Makes, path(1)),
    kind(libc::SYS_symlinkat, "symlinkat", Class::Makes, at(1, 2)),
    kind(libc::SYS_mknod, "mknod", Class::Makes, path(0)),
    kind(libc::SYS_mknodat, "mknodat", Class::Makes, at(0, 1)),
    kind(libc::SYS_chmod, "chmod", Class::Changes, path(0)),
    kind(libc::SYS_fchmod, "fchmod", Class::Changes, fd(0)),
    kind(libc::SYS_fchmodat, "fchmodat", Class::Changes, at(0, 1)),
    kind(libc::SYS_fchmodat2, "fchmodat2", Class::Changes, at(0, 1)),
    kind(libc::SYS_chown, "chown", Class::Changes, path(0)),
    kind(libc::SYS_lchown, "lchown", Class::Changes, path(0)),
    kind(libc::SYS_fchown, "fchown", Class::Changes, fd(0)),
    kind(libc::SYS_fchownat, "fchownat", Class::Changes, at(0, 1)),
    kind(libc::SYS_utimensat, "utimensat", Class::Changes, at(0, 1)),
    kind(libc::SYS_setxattr, "setxattr", Class::Makes, path(0)),
    kind(libc::SYS_lsetxattr, "lsetxattr", Class::Makes, path(0)),
    kind(libc::SYS_fsetxattr, "fsetxattr", Class::Makes, fd(0)),
    kind(libc::SYS_removexattr, "removexattr", Class::Changes, path(0)),
    kind(libc::SYS_lremovexattr, "lremovexattr", Class::Changes, path(0)),
    kind(libc::SYS_fremovexattr, "fremovexattr", Class::Changes, fd(0)),
    kind(libc::SYS_fsync, "fsync", Class::Flushes, fd(0)),
    kind(libc::SYS_fdatasync, "fdatasync", Class::Flushes, fd(0)),
    kind(libc::SYS_syncfs, "syncfs", Class::Flushes, fd(0)),
    kind(libc::SYS_sync_file_range, "sync_file_range", Class::Flushes, fd(0)),
    kind(libc::SYS_flock, "flock", Class::Locks, fd(0)),
    kind(libc::SYS_ioctl, "ioctl", Class::Makes, Shape::Control),
    kind(libc::SYS_mount, "mount", Class::Other, path(1)),
    kind(libc::SYS_umount2, "umount2", Class::Other, path(0)),
    kind(libc::SYS_move_mount, "move_mount", Class::Other, at(2, 3)),
    kind(libc::SYS_open_tree, "open_tree", Class::Other, at(0, 1)),
    kind(libc::SYS_fsmount, "fsmount", Class::Other, Shape::Bare),
    kind(libc::SYS_mount_setattr, "mount_setattr", Class::Other, at(0, 1)),
    kind(libc::SYS_bind, "bind", Class::Other, Shape::Bare),
    kind(libc::SYS_execve, "execve", Class::Other, path(0)),
];

/// A stopped call that would change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    pub class: Class,
    /// What it would change, as far as that has a path.
    pub path: PathBuf,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name, self.path.display())
    }
}

/// What a stopped process is about to do; `None` when that changes nothing that lasts.
pub fn read(pid: Pid, number: i64, arguments: &Arguments) -> Option<Call> {
    let kind = CALLS.iter().find(|kind| kind.number == number)?;
    let argument = |index: u8| arguments[usize::from(index)];
    let path = match kind.shape {
        Shape::Open { at, path, flags } => {
            if flags.is_none() && open_how(pid, argument(2))? & (libc::O_CREAT | libc::O_TRUNC) as u64 == 0 {
                return None;
            }
            resolve(pid, at.map(argument), argument(path))
        }
        Shape::Path { at, path } => resolve(pid, at.map(argument), argument(path)),
        Shape::Descriptor(index) => descriptor(pid, argument(index))?,
        Shape::Control => {
            // The third byte of a request is its family: 0x94 are clones and everything of btrfs.
            let family = (argument(1) >> 8) & 0xff;
            if family != 0x94 {
                return None;
            }
            descriptor(pid, argument(0))?
        }
        Shape::Bare => PathBuf::new(),
    };
    // A terminal, a pipe or a socket keeps nothing.
    let kept = path.is_absolute() && !path.starts_with("/dev") && !path.starts_with("/memfd:");
    let named = matches!(kind.shape, Shape::Bare) || kind.class == Class::Other || kept;
    named.then_some(Call { name: kind.name, class: kind.class, path })
}

/// The path of an open file; `None` for what has none.
fn descriptor(pid: Pid, number: u64) -> Option<PathBuf> {
    let link = fs_err::read_link(format!("/proc/{pid}/fd/{}", number as i32)).ok()?;
    link.is_absolute().then_some(link)
}

fn resolve(pid: Pid, at: Option<u64>, address: u64) -> PathBuf {
    let text = string(pid, address).unwrap_or_default();
    let path = Path::new(std::ffi::OsStr::from_bytes(&text));
    if path.is_absolute() {
        return path.to_owned();
    }
    let directory = match at.map(|number| number as i32) {
        None | Some(libc::AT_FDCWD) => fs_err::read_link(format!("/proc/{pid}/cwd")).ok(),
        Some(number) => fs_err::read_link(format!("/proc/{pid}/fd/{number}")).ok(),
    };
    directory.unwrap_or_default().join(path)
}

/// A string in another process. It may end at a page that is not there, so it is read by parts.
fn string(pid: Pid, address: u64) -> Option<Vec<u8>> {
    const PART: u64 = 256;
    if address == 0 {
        return None;
    }
    let memory = fs_err::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut text = Vec::new();
    while text.len() < libc::PATH_MAX as usize {
        let from = address + text.len() as u64;
        let mut part = vec![0; (PART - from % PART) as usize];
        memory.file().read_exact_at(&mut part, from).ok()?;
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            text.extend(&part[..end]);
            return Some(text);
        }
        text.extend(part);
    }
    None
}

fn open_how(pid: Pid, address: u64) -> Option<u64> {
    let memory = fs_err::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut flags = [0; 8];
    memory.file().read_exact_at(&mut flags, address).ok()?;
    Some(u64::from_ne_bytes(flags))
}
