//! Writable trees that were mounted `volatile`: which boot did it, and what may still be done with them.
//!
//! A volatile mount skips the flush of the whole file system when it goes, which takes up to seconds. In exchange its upper
//! directory is worth nothing after a crash of the machine: names may be there and bytes not. The kernel leaves a mark,
//! `work/work/incompat/volatile`, and refuses every later mount while it is there, although on the same boot nothing is
//! lost. So the boot is noted beside it, as `rw/<id>/volatile`, before the mount:
//!
//! - **the same boot**: the kernel's mark goes and the tree is used. The first ordinary, writable mount flushes once and
//!   clears our mark too, because its user counts on what it finds.
//! - **another boot**, or a kernel's mark without ours: the tree is `Corrupt`. It is neither mounted, compared nor promoted;
//!   it can be removed.
//!
//! Our mark is a symbolic link that leads to the boot id: made in one step, and kept in the inode, so that no crash leaves
//! the name without its content. What a journal replays comes back in order, so nothing that was written through the
//! mount comes back without the mark.

use std::os::fd::BorrowedFd;

use mica_storage_api::layout::open_dir;
use mica_storage_api::{Error, ErrorKind, Key, Result, ResultExt, tree};
use rustix::fs::{AtFlags, OFlags, readlinkat, statat, symlinkat, syncfs, unlinkat};
use rustix::io::Errno;

/// Beside the upper and the work directory.
const MARK: &str = "volatile";
/// The kernel's directory inside the one that it was given.
const KERNEL_WORK: &str = "work";
const KERNEL_MARK: &str = "work/incompat/volatile";

/// What is to be done with a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Looked at from below, or promoted: nothing is mounted, and somebody may have it mounted.
    Look,
    /// Mounted read-only.
    Read,
    /// Mounted to be written and kept.
    Durable,
    /// Mounted to be written and lost with the machine.
    Volatile,
}

/// Makes sure that the tree is whole, and ready for `next`. `rw` is its directory, `work` the one inside.
pub(crate) fn admit(rw: BorrowedFd<'_>, work: BorrowedFd<'_>, id: Key<'_>, next: Use) -> Result<()> {
    let mark = match readlinkat(rw, MARK, Vec::new()) {
        Ok(boot) => Some(boot),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(Error::os(errno, format_args!("read `rw/{id}/{MARK}`"))),
    };
    let Some(mark) = mark else {
        return match statat(work, KERNEL_MARK, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(lost(id)),
            Err(_) if next == Use::Volatile => {
                symlinkat(boot_id()?, rw, MARK).during(|| format!("make `rw/{id}/{MARK}`"))
            }
            Err(_) => Ok(()),
        };
    };
    if mark.to_bytes() != boot_id()?.as_bytes() {
        return Err(lost(id));
    }
    if next == Use::Look {
        return Ok(());
    }
    match open_dir(work, KERNEL_WORK) {
        Ok(inner) => drop(tree::remove(std::os::fd::AsFd::as_fd(&inner), c"incompat", None)?),
        // Never mounted so far.
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(Error::os(errno, format_args!("open `rw/{id}/work/{KERNEL_WORK}`"))),
    }
    if next == Use::Durable {
        syncfs(rw).during(|| format!("flush `rw/{id}`, which was volatile"))?;
        match unlinkat(rw, MARK, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::os(errno, format_args!("remove `rw/{id}/{MARK}`"))),
        }
    }
    Ok(())
}

fn lost(id: Key<'_>) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the writable tree `{id}` was mounted volatile and the machine has restarted since, so what it holds may be incomplete; remove it"
        ),
    )
}

/// Identifies this boot.
fn boot_id() -> Result<&'static str> {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let read = || -> rustix::io::Result<String> {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
        let mut buffer = [0; 64];
        let length = rustix::io::read(&file, &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
    };
    let boot = read().during(|| format!("read `{path}`"))?;
    Ok(BOOT.get_or_init(|| boot))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap()
    }

    #[test]
    fn a_tree_of_another_boot_is_refused_and_one_of_this_boot_is_not() {
        let id = Key::new("c").unwrap();
        // Our mark, whether the kernel's is there, what is asked for, whether it is granted, whether our mark is there then.
        let this = boot_id().unwrap();
        let cases = [
            (None, false, Use::Durable, true, false),
            (None, false, Use::Read, true, false),
            (None, false, Use::Volatile, true, true),
            (None, true, Use::Durable, false, false),
            (Some(this), true, Use::Volatile, true, true),
            (Some(this), true, Use::Read, true, true),
            (Some(this), false, Use::Volatile, true, true),
            (Some(this), true, Use::Durable, true, false),
            (Some(this), false, Use::Look, true, true),
            (Some("another boot"), false, Use::Look, false, true),
            (Some("another boot"), true, Use::Durable, false, true),
            (Some("another boot"), false, Use::Volatile, false, true),
            (Some("another boot"), true, Use::Read, false, true),
        ];
        for case in cases {
            let (ours, kernels, next, granted, stays) = case;
            let top = tempfile::tempdir().unwrap();
            fs_err::create_dir_all(top.path().join("work/work")).unwrap();
            if kernels {
                fs_err::create_dir_all(top.path().join("work").join(KERNEL_MARK)).unwrap();
            }
            if let Some(boot) = ours {
                fs_err::os::unix::fs::symlink(boot, top.path().join(MARK)).unwrap();
            }
            let (rw, work) = (open(top.path()), open(&top.path().join("work")));
            match admit(rw.as_fd(), work.as_fd(), id, next) {
                Ok(()) => assert!(granted && !top.path().join("work").join(KERNEL_MARK).exists(), "{case:?}"),
                Err(error) => assert!(!granted && error.kind == ErrorKind::Corrupt, "{case:?}: {error}"),
            }
            assert_eq!(fs_err::symlink_metadata(top.path().join(MARK)).is_ok(), stays, "{case:?}");
        }
    }
}
