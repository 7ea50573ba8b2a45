//! From a container's tree to a layer: the difference is moved over by giving its files one more name, and marks stand for what
//! is gone. Nothing is copied, and until the layer is published the tree is what it was.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mica_storage_api::copy::Entries;
use mica_storage_api::{ChangeKind, Error, ErrorKind, Result, ResultExt, tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat};

use crate::chain::{MARK, join};
use crate::fill::{Progress, link};
use crate::manifest::shown;
use mica_storage_api::changes::{Changed, split};

/// Writes what changed in `tree` into the empty directory `layer`.
pub(crate) fn extract(
    changed: &Changed,
    tree: BorrowedFd<'_>,
    layer: BorrowedFd<'_>,
    progress: &mut Progress,
) -> Result<()> {
    let mut entries = Entries::into_tree(layer);
    let mut dirs = BTreeSet::from([Vec::new()]);
    for (path, &kind) in changed {
        progress.step()?;
        let (parent, name) = split(path);
        let (Some(parent), Ok(name)) = (ensure(parent, layer, &mut dirs)?, CString::new(name.as_bytes())) else {
            continue;
        };
        let show = || format!("make a layer of {}", shown(&parent, &name));
        if name.is_empty() {
            continue;
        }
        let to = tree::open_path(layer, &parent).during(show)?;
        if kind == ChangeKind::Deleted {
            let mark = [MARK, name.to_bytes()].concat();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            drop(openat(&to, mark, flags, Mode::RUSR | Mode::WUSR).during(show)?);
            continue;
        }
        if name.to_bytes().starts_with(MARK) {
            let message = format!("{} cannot be part of a layer, where that name is a deletion", shown(&parent, &name));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let from = tree::open_path(tree, &parent).during(show)?;
        let kind = FileType::from_raw_mode(statat(&from, &name, AtFlags::SYMLINK_NOFOLLOW).during(show)?.st_mode);
        if kind == FileType::Directory {
            ensure(path, layer, &mut dirs)?;
        } else if !link(from.as_fd(), &name, to.as_fd()).during(show)? {
            let place = if parent.is_empty() { Vec::new() } else { [&parent[..], b"/"].concat() };
            entries.copy((from.as_fd(), to.as_fd()), &place, &name, kind).during(show)?;
        }
    }
    for path in dirs {
        let show = || format!("make a layer of {}", shown(&path, c""));
        let from = tree::open_path(tree, &path).during(show)?;
        let to = tree::open_path(layer, &path).during(show)?;
        entries.finish_directory(from.as_fd(), to.as_fd()).during(show)?;
    }
    Ok(())
}

/// Makes a directory and all above it: a layer that left one out would not say whose it is. Yields its path.
fn ensure(path: &Path, layer: BorrowedFd<'_>, dirs: &mut BTreeSet<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    if dirs.contains(path.as_os_str().as_bytes()) {
        return Ok(Some(path.as_os_str().as_bytes().to_vec()));
    }
    let mut above: Vec<u8> = Vec::new();
    for part in path {
        let Ok(name) = CString::new(part.as_bytes()) else { return Ok(None) };
        let full = join(&above, &name);
        if dirs.insert(full.clone()) {
            make(layer, &above, &name).during(|| format!("make a layer of {}", shown(&above, &name)))?;
        }
        above = full;
    }
    Ok(Some(above))
}

fn make(layer: BorrowedFd<'_>, above: &[u8], name: &CStr) -> rustix::io::Result<()> {
    mkdirat(tree::open_path(layer, above)?, name, Mode::RWXU)
}
