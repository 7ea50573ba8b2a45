//! Gives a whole tree to somebody.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::walk::{self, Below};

/// Gives everything below `root`, and `root` itself, an owner and a group. Links are given away and not followed, and what
/// vanishes meanwhile is passed over. The kernel clears the set-id bits of files whose owner changes.
pub fn give_tree(root: BorrowedFd<'_>, owner: (u32, u32)) -> Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
    let failed = |path: &[u8]| {
        let path = path.to_vec();
        move |errno| Error::io("change the owner of", &path, errno)
    };
    let top = rustix::fs::fstat(root).map_err(failed(b"."))?;
    if (top.st_uid, top.st_gid) != owner {
        rustix::fs::chownat(root, "", uid, gid, AtFlags::EMPTY_PATH).map_err(failed(b"."))?;
    }
    // The source of a bind may be a file.
    if rustix::fs::FileType::from_raw_mode(top.st_mode) != rustix::fs::FileType::Directory {
        return Ok(());
    }
    walk::walk(root, &mut |found| {
        if (found.stat.st_uid, found.stat.st_gid) != owner {
            match rustix::fs::chownat(found.dir, found.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                given => given.map_err(failed(found.path))?,
            }
        }
        Ok(Below::Enter)
    })
}
