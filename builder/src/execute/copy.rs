//! COPY and ADD on open directories: reading the sources once for their digest, then copying what was read.

use std::collections::HashSet;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use mica_layer::beneath::{self, NewDir};
use mica_layer::{CopyOptions, Digest, Hasher, copy_into};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use super::source::{self, Found};
use super::tree::{self, Filter, Overrides, field, files, io};
use super::unpack;
use crate::error::Fault;
use crate::ignore::Ignore;
use crate::plan::{CopyWork, Inline};

/// The sources of a copy, found and read.
#[derive(Debug)]
pub(super) struct Prepared {
    items: Vec<Item>,
    /// The digest of all that will be copied, and of the names it will have.
    pub content: Digest,
    owner: Option<(u32, u32)>,
}

#[derive(Debug)]
struct Item {
    found: Found,
    /// What to copy of a directory; `None` is everything.
    kept: Option<HashSet<PathBuf>>,
    is_archive: bool,
}

/// Finds the sources below `root` and reads them.
pub(super) fn prepare(
    root: Option<BorrowedFd<'_>>,
    ignore: Option<&Ignore>,
    work: &CopyWork,
    owner: Option<(u32, u32)>,
) -> Result<Prepared, Fault> {
    let exclude = Ignore::excluding(&work.exclude).map_err(|error| Fault::Invalid(error.to_string()))?;
    let filter = Filter { ignore, exclude: &exclude };
    let overrides = Overrides { owner, mode: work.mode };
    let mut hasher = Hasher::new();
    field(&mut hasher, format!("{owner:?}").as_bytes());
    let mut items = Vec::new();
    for pattern in &work.sources {
        let Some(root) = root else {
            return Err(Fault::Invalid(format!("`{}` cannot be copied: this build has no context", pattern.path)));
        };
        for found in source::find(root, pattern, &filter)? {
            let name =
                if work.parents { &found.kept_path } else { Path::new(found.path.file_name().unwrap_or_default()) };
            field(&mut hasher, name.as_os_str().as_encoded_bytes());
            let kept = tree::read(root, &found, &filter, overrides, &mut hasher)?;
            let nothing_left = kept.as_ref().is_some_and(|kept| kept.iter().all(|path| path.as_os_str().is_empty()));
            if found.kind == FileType::Directory && nothing_left && filter.leaves_out(&found.real, Path::new("")) {
                return Err(Fault::Invalid(format!("`{}` is left out by the ignore file", pattern.path)));
            }
            let is_archive =
                work.unpack && found.kind == FileType::RegularFile && unpack::is_archive(root, &found.path)?;
            items.push(Item { found, kept, is_archive });
        }
    }
    Ok(Prepared { items, content: hasher.finish(), owner })
}

/// Copies what was prepared below `target`. Inline files come last. Once `stopped`, nothing more is copied: the target
/// is being thrown away.
pub(super) fn copy(
    root: Option<BorrowedFd<'_>>,
    target: BorrowedFd<'_>,
    work: &CopyWork,
    prepared: &Prepared,
    stopped: &AtomicBool,
) -> Result<(), Fault> {
    let destination = Path::new(&work.destination);
    let (uid, gid) = prepared.owner.unwrap_or((0, 0));
    let new = NewDir { mode: 0o755, uid, gid };
    let make = |path: &Path| beneath::mkdir_all(target, path, new).map_err(files("create", path));
    let is_dir = work.into_directory || beneath::open_dir(target, destination).is_ok();
    if work.into_directory {
        make(destination)?;
    }
    let files_to_copy = prepared.items.iter().filter(|item| item.found.kind != FileType::Directory).count();
    if !is_dir && files_to_copy + work.inline.len() > 1 {
        let message = format!("`{}` must end with `/`: more than one file is copied to it", work.destination);
        return Err(Fault::Invalid(message));
    }
    for item in &prepared.items {
        let Some(root) = root else { break };
        let path = &item.found.path;
        if item.is_archive {
            unpack::unpack(root, path, make(destination)?.as_fd())?;
            continue;
        }
        let to = match item.found.kind {
            _ if work.parents => destination.join(&item.found.kept_path),
            FileType::Directory => destination.to_owned(),
            _ if is_dir => destination.join(path.file_name().unwrap_or_default()),
            _ => destination.to_owned(),
        };
        if path.as_os_str().is_empty() {
            make(&to)?;
        }
        let excluded = |path: &Path| {
            stopped.load(Ordering::Relaxed) || item.kept.as_ref().is_some_and(|kept| !kept.contains(path))
        };
        let options = CopyOptions {
            owner: prepared.owner,
            mode: work.mode,
            follow: true,
            exclude: Some(&excluded),
            ..CopyOptions::default()
        };
        let from = if path.as_os_str().is_empty() { Path::new(".") } else { path.as_path() };
        copy_into(root, from, target, &to, &options).map_err(files("copy", path))?;
    }
    for inline in &work.inline {
        let to = if is_dir { destination.join(&inline.name) } else { destination.to_owned() };
        write(target, &to, inline, work.mode.unwrap_or(0o644), new)?;
    }
    Ok(())
}

/// Writes a file whose content stands in the Dockerfile. A link in its place is replaced, not followed.
fn write(target: BorrowedFd<'_>, path: &Path, inline: &Inline, mode: u32, new: NewDir) -> Result<(), Fault> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let dir = beneath::mkdir_all(target, parent, new).map_err(files("create", parent))?;
    let name = path.file_name().unwrap_or_default();
    match rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(io("replace", path)(errno)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600)).map_err(io("create", path))?;
    let mut file = fs_err::File::from_parts(file.into(), path);
    file.write_all(inline.content.as_bytes())
        .map_err(|source| Fault::from(mica_engine::Error::Io { operation: "write", path: path.to_owned(), source }))?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(new.uid)), Some(Gid::from_raw(new.gid))).map_err(io("chown", path))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(io("chmod", path))
}
