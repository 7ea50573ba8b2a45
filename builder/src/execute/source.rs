//! The sources of a copy: patterns to paths that exist below a root.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use mica_layer::beneath;
use rustix::fs::{FileType, Mode, OFlags};

use super::tree::{Filter, io};
use crate::error::Fault;
use crate::glob::{DoubleStar, Glob, has_wildcard};
use crate::plan::Pattern;

/// A path that a pattern found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is below the root; empty is the root itself.
    pub path: PathBuf,
    /// Where it really is, links resolved, which is what an ignore file speaks of.
    pub real: PathBuf,
    /// What it is, when a link at its end is followed.
    pub kind: FileType,
    /// The path that `--parents` keeps.
    pub kept_path: PathBuf,
}

/// All paths that a pattern finds, in order. A pattern that finds nothing is an error.
pub(super) fn find(root: BorrowedFd<'_>, pattern: &Pattern, filter: &Filter<'_>) -> Result<Vec<Found>, Fault> {
    let mut paths = vec![PathBuf::new()];
    for component in pattern.path.split('/').filter(|component| *component != ".") {
        if component == "**" {
            paths = below(root, paths)?;
        } else if has_wildcard(component) {
            let glob = Glob::new(component, DoubleStar::Plain).map_err(Fault::Invalid)?;
            paths = matches(root, paths, &glob)?;
        } else {
            paths.iter_mut().for_each(|path| path.push(component));
        }
    }
    let wild = has_wildcard(&pattern.path);
    let mut found = Vec::new();
    for path in paths {
        let opened = match beneath::open(root, &path, OFlags::PATH, Mode::empty()) {
            Ok(opened) => opened,
            Err(mica_layer::Error::Io { source, .. }) if is_absent(&source) => continue,
            Err(source) => return Err(Fault::Files { operation: "open", path: path.display().to_string(), source }),
        };
        let stat = rustix::fs::fstat(&opened).map_err(io("read", &path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let real = real(root, &opened).unwrap_or_else(|| path.clone());
        if kind != FileType::Directory && filter.leaves_out(&real, Path::new("")) {
            if wild {
                continue;
            }
            return Err(Fault::Invalid(format!("`{}` is left out by the ignore file", pattern.path)));
        }
        let kept_path = path.components().skip(pattern.pivot).collect();
        found.push(Found { path, real, kind, kept_path });
    }
    match found.is_empty() {
        true => Err(Fault::Invalid(format!("`{}` was not found in the source of the copy", pattern.path))),
        false => Ok(found),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Entries of directories whose names match.
fn matches(root: BorrowedFd<'_>, dirs: Vec<PathBuf>, glob: &Glob) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    for dir in dirs {
        for name in names(root, &dir)? {
            if glob.matches(&name.to_string_lossy()) {
                found.push(dir.join(name));
            }
        }
    }
    Ok(found)
}

/// The directories themselves and all directories below them; links are not followed, so this ends.
fn below(root: BorrowedFd<'_>, dirs: Vec<PathBuf>) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = dirs.into_iter().rev().collect();
    while let Some(dir) = open.pop() {
        for name in names(root, &dir)?.into_iter().rev() {
            let path = dir.join(name);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            if beneath::open(root, &path, flags, Mode::empty()).is_ok() {
                open.push(path);
            }
        }
        found.push(dir);
    }
    Ok(found)
}

fn names(root: BorrowedFd<'_>, dir: &Path) -> Result<Vec<OsString>, Fault> {
    match beneath::open_dir(root, dir) {
        Ok(opened) => super::tree::names(opened.as_fd(), dir),
        Err(_) => Ok(Vec::new()),
    }
}

/// The path of an open file below the root, as the kernel knows it.
fn real(root: BorrowedFd<'_>, opened: &OwnedFd) -> Option<PathBuf> {
    let path_of = |fd: i32| {
        let path = rustix::fs::readlink(format!("/proc/self/fd/{fd}"), Vec::new()).ok()?;
        Some(PathBuf::from(OsString::from_vec(path.into_bytes())))
    };
    let root = path_of(root.as_raw_fd())?;
    Some(path_of(opened.as_raw_fd())?.strip_prefix(root).ok()?.to_path_buf())
}
