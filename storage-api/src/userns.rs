//! User namespaces as values: a descriptor that holds one with the mapping that was asked for, and nobody inside.
//!
//! The kernel makes a namespace for a process only, and refuses to make one for a thread of a process with several. So there is a
//! child for a moment, which does nothing but wait; the descriptor keeps the namespace when the child is gone.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::sys::last_errno;

/// A stretch of ids of a namespace, and where it begins outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The id outside that it stands for.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Namespaces that were made together.
#[derive(Debug)]
pub struct Namespaces {
    /// The user namespace.
    pub user: OwnedFd,
    /// A network namespace that belongs to it, where one was asked for: who has capabilities in the one has them in the other.
    pub network: Option<OwnedFd>,
}

/// Makes a user namespace with these mappings, and with `network` a network namespace that belongs to it.
pub fn make(uids: &[IdRange], gids: &[IdRange], network: bool) -> io::Result<Namespaces> {
    let child = Child::new(network)?;
    let place = |name: &str| format!("/proc/{}/{name}", child.pid.as_raw_nonzero());
    write_map(&place("uid_map"), uids)?;
    write_map(&place("gid_map"), gids)?;
    let open = |name: &str| rustix::fs::open(place(name), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    Ok(Namespaces { user: open("ns/user")?, network: network.then(|| open("ns/net")).transpose()? })
}

/// In one write, as the kernel demands.
fn write_map(path: &str, ranges: &[IdRange]) -> io::Result<()> {
    let text: String =
        ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count)).collect();
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

/// A process in the new namespaces, which is ended and collected when this goes.
struct Child {
    pid: Pid,
    // The child ends when nobody has this any more: also when this process is killed.
    _leash: OwnedFd,
}

impl Child {
    #[expect(unsafe_code, reason = "clone(2) with namespaces is wrapped by neither rustix nor std")]
    fn new(network: bool) -> Result<Self, Errno> {
        let (waits, leash) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (waits_at, leash_at) = (waits.as_raw_fd(), leash.as_raw_fd());
        let spaces = libc::CLONE_NEWUSER | if network { libc::CLONE_NEWNET } else { 0 };
        let flags = libc::c_long::from(spaces | libc::SIGCHLD);
        // SAFETY: without CLONE_VM this is fork(2): the child has a copy of the memory, and of the threads only this one. It makes
        // the three system calls below and never returns, so no lock that another thread held is ever taken, and no value of
        // the parent is dropped twice.
        match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
            // SAFETY: both descriptors are the child's own copies, the byte is on its own stack, and `_exit` runs nothing of
            // the parent's.
            0 => unsafe {
                let mut byte = 0u8;
                libc::close(leash_at);
                libc::read(waits_at, (&raw mut byte).cast(), 1);
                libc::_exit(0)
            },
            pid if pid > 0 => match Pid::from_raw(pid as i32) {
                Some(pid) => Ok(Self { pid, _leash: leash }),
                None => Err(Errno::SRCH),
            },
            _ => Err(last_errno()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has not been waited for, so the number is still its own.
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.pid), WaitOptions::empty()));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    fn privileged_namespaces_outlive_their_child() {
        let root = IdRange { inside: 0, outside: 100_000, count: 10 };
        let further = IdRange { inside: 10, outside: 200_000, count: 5 };
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "skipped, which MICA_NO_SKIP forbids: root is needed");
            eprintln!("skipped: root is needed");
            return;
        }
        let made = make(&[root, further], &[root], true).unwrap();
        let children = || fs_err::read_to_string("/proc/thread-self/children").unwrap();
        assert_eq!(children(), "", "the child was not collected");
        let own = rustix::fs::stat("/proc/self/ns/user").unwrap().st_ino;
        assert_ne!(rustix::fs::fstat(made.user.as_fd()).unwrap().st_ino, own);
        assert!(made.network.is_some());
        assert!(make(&[root, root], &[root], false).is_err(), "ranges that overlap");
    }
}
