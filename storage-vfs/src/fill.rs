//! Making the merged tree of a chain: as copies for a container, as further names of the layers' files for a view.
//!
//! Names cost no bytes, and are right for what nobody can write through: one inode in a layer and in a container would let a
//! write in the container reach the image, and shows link counts that programs stumble over.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use mica_storage_api::copy::Entries;
use mica_storage_api::{Error, ErrorKind, Flow, Host, Result, ResultExt, tree};
use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat};
use rustix::io::Errno;

use crate::chain::{Chain, Found};

/// How many entries lie between two questions whether to go on.
const PROGRESS_EVERY: u64 = 64;

/// How the tree gets its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Their own, which share bytes where the file system can.
    Copied,
    /// Those of the layers, under one more name.
    Linked,
}

/// Asks the host whether to go on.
#[derive(Debug)]
pub(crate) struct Progress {
    host: Host,
    call_id: u64,
    done: u64,
}

impl Progress {
    pub(crate) fn of(host: Host, call_id: u64) -> Self {
        Self { host, call_id, done: 0 }
    }

    /// One entry more.
    pub(crate) fn step(&mut self) -> Result<()> {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_EVERY) && self.host.progress(self.call_id, self.done, 0) == Flow::Stop {
            return Err(Error::new(ErrorKind::Cancelled, "making a tree was cancelled"));
        }
        Ok(())
    }
}

/// Makes the tree of a chain of at least one layer in the empty directory `root`.
pub(crate) fn fill(chain: Chain<'_>, root: BorrowedFd<'_>, files: Files, progress: &mut Progress) -> Result<()> {
    let mut entries = Entries::into_tree(root);
    let mut ahead = vec![chain.root()?];
    while let Some(place) = ahead.pop() {
        let show = |name: &CStr| {
            let (path, name) = (place.path.escape_ascii(), name.to_bytes().escape_ascii());
            format!("make `{path}/{name}` from the layers")
        };
        let found = chain.read(&place).during(|| show(c""))?;
        let to = tree::open_path(root, &place.path).during(|| show(c""))?;
        let mut prefix = place.path.clone();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        for &layer in &place.parts {
            let own = |(_, found): &(&CString, &Found)| found.layer == layer && found.kind != FileType::Directory;
            let mut names = found.iter().filter(own).peekable();
            if names.peek().is_none() {
                continue;
            }
            let from = chain.open(layer, &place.path).during(|| show(c""))?;
            for (name, found) in names {
                progress.step()?;
                let linked = files == Files::Linked && link(from.as_fd(), name, to.as_fd()).during(|| show(name))?;
                if !linked {
                    entries.copy((from.as_fd(), to.as_fd()), &prefix, name, found.kind).during(|| show(name))?;
                }
            }
        }
        for (name, found) in found {
            if found.kind == FileType::Directory {
                progress.step()?;
                mkdirat(&to, &name, Mode::RWXU).during(|| show(&name))?;
                ahead.push(place.below(&name, found.parts));
            }
        }
        // All names are there, and what is done to them later does not touch the times of the directory that has them.
        let from = chain.open(place.like, &place.path).during(|| show(c""))?;
        entries.finish_directory(from.as_fd(), to.as_fd()).during(|| show(c""))?;
    }
    Ok(())
}

/// Gives a file one more name; false where that cannot be: a file has so many names already, or the file system knows none.
pub(crate) fn link(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    match linkat(from, name, to, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno),
    }
}
