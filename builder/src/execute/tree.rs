//! What a copy will copy: the files below a source that no filter leaves out, and the digest of all of them.
//!
//! The digest sees names, types, modes, owners as they will be, bytes, link targets, device numbers and extended
//! attributes. Times are no part of it: a checkout changes them all and the image would be the same.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mica_layer::{Hasher, beneath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::source::Found;
use crate::error::Fault;
use crate::ignore::Ignore;

/// What leaves files out.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    /// The ignore file, for files of the context.
    pub ignore: Option<&'a Ignore>,
    /// `--exclude`.
    pub exclude: &'a Ignore,
}

impl Filter<'_> {
    /// Whether a path is left out: `real` below the root, `relative` below the source that is copied.
    pub fn leaves_out(&self, real: &Path, relative: &Path) -> bool {
        let by = |ignore: &Ignore, path: &Path| {
            !ignore.is_empty() && !path.as_os_str().is_empty() && ignore.leaves_out(&path.to_string_lossy())
        };
        self.ignore.is_some_and(|ignore| by(ignore, real)) || by(self.exclude, real) || by(self.exclude, relative)
    }

    fn is_empty(&self) -> bool {
        self.ignore.is_none_or(Ignore::is_empty) && self.exclude.is_empty()
    }

    fn has_exceptions(&self) -> bool {
        self.ignore.is_some_and(Ignore::has_exceptions) || self.exclude.has_exceptions()
    }
}

/// How the copies differ from their sources.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overrides {
    pub owner: Option<(u32, u32)>,
    pub mode: Option<u32>,
}

/// Adds everything below a found path to the digest. Returns the paths to copy, relative to it, where a filter has a say.
pub(super) fn read(
    root: BorrowedFd<'_>,
    found: &Found,
    filter: &Filter<'_>,
    overrides: Overrides,
    hasher: &mut Hasher,
) -> Result<Option<HashSet<PathBuf>>, Fault> {
    let top = beneath::open(root, &found.path, OFlags::PATH, Mode::empty()).map_err(files("open", &found.path))?;
    let mut entries: BTreeMap<PathBuf, Stat> = BTreeMap::new();
    if found.kind == FileType::Directory {
        entries = list(top.as_fd(), found, filter)?;
    }
    // The root of a context has the mode of whatever directory it happens to be, which nobody meant to copy.
    if !found.path.as_os_str().is_empty() {
        entries.insert(PathBuf::new(), rustix::fs::fstat(&top).map_err(io("read", &found.path))?);
    }
    field(hasher, entries.len().to_string().as_bytes());
    for (path, stat) in &entries {
        field(hasher, path.as_os_str().as_bytes());
        // The top is opened through the root, so that a link at its end is followed as the copy follows it.
        let (dir, name) = match path.as_os_str().is_empty() {
            true => (root, found.path.as_path()),
            false => (top.as_fd(), path.as_path()),
        };
        add(dir, name, stat, overrides, path.as_os_str().is_empty(), hasher)?;
    }
    Ok((!filter.is_empty()).then(|| entries.into_keys().collect()))
}

/// An I/O error with the verb and the path, for `map_err`.
pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> Fault {
    let path = path.to_owned();
    move |errno| Fault::from(mica_engine::Error::Io { operation, path, source: errno.into() })
}

/// The same for the layer crate's errors.
pub(super) fn files(operation: &'static str, path: &Path) -> impl FnOnce(mica_layer::Error) -> Fault {
    let path = path.display().to_string();
    move |source| Fault::Files { operation, path, source }
}

/// The names in a directory, sorted.
pub(super) fn names(dir: BorrowedFd<'_>, shown: &Path) -> Result<Vec<OsString>, Fault> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(io("list", shown))? {
        let entry = entry.map_err(io("list", shown))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Everything below a directory that is kept, and the directories that lead there.
fn list(top: BorrowedFd<'_>, found: &Found, filter: &Filter<'_>) -> Result<BTreeMap<PathBuf, Stat>, Fault> {
    let mut all: BTreeMap<PathBuf, Stat> = BTreeMap::new();
    let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(dir_path) = open.pop() {
        let dir = beneath::open_dir(top, &dir_path).map_err(files("open", &found.path.join(&dir_path)))?;
        for name in names(dir.as_fd(), &found.path.join(&dir_path))? {
            let path = dir_path.join(&name);
            let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io("read", &found.path.join(&path)))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Socket {
                continue;
            }
            let out = filter.leaves_out(&found.real.join(&path), &path);
            if kind == FileType::Directory && (!out || filter.has_exceptions()) {
                open.push(path.clone());
            }
            if !out {
                for above in path.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty()) {
                    if !kept.insert(above.to_owned()) {
                        break;
                    }
                }
                kept.insert(path.clone());
            }
            all.insert(path, stat);
        }
    }
    all.retain(|path, _| kept.contains(path));
    Ok(all)
}

fn add(
    dir: BorrowedFd<'_>,
    path: &Path,
    stat: &Stat,
    overrides: Overrides,
    is_top: bool,
    hasher: &mut Hasher,
) -> Result<(), Fault> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let (uid, gid) = overrides.owner.unwrap_or((stat.st_uid, stat.st_gid));
    let mode = match overrides.mode {
        Some(mode) if kind != FileType::Symlink => mode,
        _ => stat.st_mode & 0o7777,
    };
    let follow = if is_top { OFlags::empty() } else { OFlags::NOFOLLOW };
    field(hasher, format!("{kind:?} {mode:o} {uid}:{gid}").as_bytes());
    match kind {
        FileType::Symlink => {
            let target = beneath::open(dir, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
                .map_err(files("open", path))?;
            let target = rustix::fs::readlinkat(&target, "", Vec::new()).map_err(io("read link", path))?;
            field(hasher, target.as_bytes());
        }
        FileType::BlockDevice | FileType::CharacterDevice => field(hasher, stat.st_rdev.to_string().as_bytes()),
        FileType::RegularFile | FileType::Directory => {
            // Without NONBLOCK a file that was swapped for a FIFO would stop the build for ever.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | follow;
            let file = beneath::open(dir, path, flags, Mode::empty()).map_err(files("open", path))?;
            attributes(file.as_fd(), path, hasher)?;
            if kind == FileType::RegularFile {
                content(file.as_fd(), path, hasher)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn content(file: BorrowedFd<'_>, path: &Path, hasher: &mut Hasher) -> Result<(), Fault> {
    let mut inner = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match rustix::io::read(file, &mut buffer) {
            Ok(0) => break,
            Ok(count) => inner.update(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io("read", path)(errno)),
        }
    }
    field(hasher, inner.finish().as_str().as_bytes());
    Ok(())
}

/// The extended attributes a layer keeps, by name.
fn attributes(file: BorrowedFd<'_>, path: &Path, hasher: &mut Hasher) -> Result<(), Fault> {
    let mut list = Vec::with_capacity(1024);
    match sized(&mut list, |buffer| rustix::fs::flistxattr(file, buffer)) {
        Ok(()) => {}
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(io("list attributes of", path)(errno)),
    }
    let mut names: Vec<&[u8]> = list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    for name in names.into_iter().filter(|name| is_kept(name)) {
        let Ok(c_name) = CString::new(name) else { continue };
        let mut value = Vec::new();
        match sized(&mut value, |buffer| rustix::fs::fgetxattr(file, c_name.as_c_str(), buffer)) {
            Ok(()) => {
                field(hasher, name);
                field(hasher, &value);
            }
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(io("read attributes of", path)(errno)),
        }
    }
    Ok(())
}

fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") || name == b"security.capability"
}

/// Reads an attribute whose size is asked for first and may have grown by the time it is read.
fn sized(into: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
    loop {
        let size = read(&mut [])?;
        into.resize(size, 0);
        if size == 0 {
            return Ok(());
        }
        match read(into) {
            Ok(size) => {
                into.truncate(size);
                return Ok(());
            }
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A field with its length in front, so that no two sequences of fields look the same.
pub(super) fn field(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
