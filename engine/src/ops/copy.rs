//! `cp`: files between a container and the host, or a tar stream.
//!
//! A container is hostile, runs while it is copied from, and swaps directories for symbolic links (CVE-2018-15664), so
//! its root is one descriptor and the kernel resolves every path below it.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use mica_layer::{
    CopyOptions as LayerCopy, Decoder, Limits, Target, Whiteouts, apply_owned, beneath, copy_into, write_subtree,
    write_tree,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, readlinkat, statat};

use super::prepare::as_root_of;
use super::root::{Mounts, Root};
use crate::container::{ContainerRecord, IdMappings};
use crate::{Engine, Error, Kind, Result};

/// How many links in a row are followed.
const LINKS_MAX: usize = 40;

/// How Docker's daemon tells of a copy out of a container and into one; `copy`, which its documentation has, it never says.
const FROM: &str = "archive-path";
const INTO: &str = "extract-to-dir";

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Follow a source path that is itself a symbolic link (`-L`).
    pub follow: bool,
    /// Keep owners (`-a`); else copies on the host belong to `owner`. Copies in a container keep them in any case.
    pub archive: bool,
    /// Owner of copies on the host.
    pub owner: Option<(u32, u32)>,
}

impl Engine {
    /// Copies `path` of a container to `target` on the host, as `cp` names things.
    pub async fn copy_from(&self, container: &str, path: &Path, target: PathBuf, options: CopyOptions) -> Result<()> {
        let (path, owner) = (path.to_owned(), if options.archive { None } else { options.owner });
        self.with_root(container, FROM, move |root, name, ids| {
            let (source, end) =
                Source::find(root, &path, options.follow).map_err(|error| in_container(error, name, &path))?;
            let host = host_directory(&target)?;
            let inside = inside(ids);
            let place = place(&end, host.kind, &target, host.name)?;
            let directory = host.directory;
            copy_into(
                root,
                &source,
                directory.as_fd(),
                &place,
                &LayerCopy { owner, owners: Some(&inside), follow: options.follow, ..LayerCopy::default() },
            )
            .map(drop)
            .map_err(|source| Error::Layer {
                operation: "copy from",
                layer: format!("{name}:{}", path.display()),
                source,
            })
        })
        .await
    }

    /// Copies `source` of the host to `path` in a container, as `cp` names things. Owners are kept by their numbers.
    pub async fn copy_to(&self, source: PathBuf, container: &str, path: &Path, options: CopyOptions) -> Result<()> {
        let path = path.to_owned();
        self.with_root(container, INTO, move |root, name, ids| {
            let (from, from_name) = host_parent(&source)?;
            let (from_path, end) =
                Source::find(from.as_fd(), &from_name, options.follow).map_err(|_| no_source(&source))?;
            let end = Source { contents: ends_in_dot(&source), ..end };
            copy_below((from.as_fd(), &from_path, &end, None), options, (root, ids), name, &path)
        })
        .await
    }

    /// Copies a path of one container to another container, or to another place in the same one.
    pub async fn copy_between(&self, from: (&str, &Path), to: (&str, &Path), options: CopyOptions) -> Result<()> {
        let ((source, _), (target, _)) = (self.look_up(from.0).await?, self.look_up(to.0).await?);
        let (from, to) = (from.1.to_owned(), to.1.to_owned());
        self.blocking(move |engine| {
            let copy = |(source_root, source_ids): Shown<'_>, into: Shown<'_>| {
                let (path, end) = Source::find(source_root, &from, options.follow)
                    .map_err(|error| in_container(error, &source.name, &from))?;
                copy_below((source_root, &path, &end, source_ids), options, into, &target.name, &to)
            };
            // A stopped container's root is claimed: once for the same one, and in one order for two.
            match source.id.cmp(&target.id) {
                Ordering::Equal => engine.in_root(&source, |root| copy(root, root)),
                Ordering::Less => engine.in_root(&source, |a| engine.in_root(&target, |b| copy(a, b))),
                Ordering::Greater => engine.in_root(&target, |b| engine.in_root(&source, |a| copy(a, b))),
            }?;
            engine.tell_of(&source, FROM);
            engine.tell_of(&target, INTO);
            Ok(())
        })
        .await
    }

    /// Writes `path` of a container as an archive (`cp CONTAINER:PATH -`).
    pub async fn copy_out(
        &self,
        container: &str,
        path: &Path,
        options: CopyOptions,
        mut out: Box<dyn Write + Send>,
    ) -> Result<()> {
        let path = path.to_owned();
        self.with_root(container, FROM, move |root, name, ids| {
            let (source, end) =
                Source::find(root, &path, options.follow).map_err(|error| in_container(error, name, &path))?;
            let owners = inside(ids);
            let written = if end.name.is_empty() {
                write_tree(root, Some(&owners), &mut out)
            } else {
                write_subtree(root, &source, Path::new(&end.name), Some(&owners), &mut out)
            };
            written.map_err(|source| Error::Layer {
                operation: "archive",
                layer: format!("{name}:{}", path.display()),
                source,
            })?;
            out.flush().map_err(Error::io("write", "the archive"))
        })
        .await
    }

    /// Extracts an archive into the directory `path` of a container (`cp - CONTAINER:PATH`).
    pub async fn copy_in(&self, archive: Box<dyn Read + Send>, container: &str, path: &Path) -> Result<()> {
        let path = path.to_owned();
        self.with_root(container, INTO, move |root, name, ids| {
            if kind_of(root, &relative(&path), true)? == Found::Other {
                let message = format!("destination \"{name}:{}\" must be a directory", path.display());
                return Err(Error::refused(Kind::InvalidInput, message));
            }
            let directory =
                beneath::open_dir(root, &relative(&path)).map_err(|error| in_container(error, name, &path))?;
            let target = Target { root: directory.as_fd(), merged: None, whiteouts: Whiteouts::OciFiles };
            let owners = |owner| ids.map_or(owner, |ids| ids.to_outside(owner));
            as_root_of(ids, |_| {
                // An archive may come compressed, as Docker takes it.
                Decoder::new(BufReader::new(archive))
                    .and_then(|archive| apply_owned(archive, &target, &Limits::default(), Some(&owners)))
                    .map(drop)
                    .map_err(|source| Error::Layer {
                        operation: "extract into",
                        layer: format!("{name}:{}", path.display()),
                        source,
                    })
            })
        })
        .await
    }

    async fn with_root(
        &self,
        container: &str,
        action: &'static str,
        work: impl FnOnce(BorrowedFd<'_>, &str, Option<&IdMappings>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (record, _) = self.look_up(container).await?;
        self.blocking(move |engine| {
            engine.in_root(&record, |(root, ids)| work(root, &record.name, ids))?;
            engine.tell_of(&record, action);
            Ok(())
        })
        .await
    }

    /// Does work on a container's root as its processes see it, or would see it. Blocks.
    fn in_root(&self, record: &ContainerRecord, work: impl FnOnce(Shown<'_>) -> Result<()> + Send) -> Result<()> {
        let root: Root = self.open_root(record, Mounts::All)?;
        let directory = root.directory.as_fd();
        if root.is_running() {
            return work((directory, record.ids.as_ref()));
        }
        self.with_attached(record, directory, |directory| work((directory, None)))
    }
}

/// A root with the mapping through which it shows its owners: a running container's, where that has a user namespace of its own.
type Shown<'a> = (BorrowedFd<'a>, Option<&'a IdMappings>);

/// From the owners that a root shows to those that its container knows.
pub(super) fn inside(ids: Option<&IdMappings>) -> impl Fn((u32, u32)) -> (u32, u32) {
    move |owner| ids.map_or(owner, |ids| ids.to_inside(owner))
}

/// Copies what was found below one root to a path of a container.
fn copy_below(
    (from, from_path, end, from_ids): (BorrowedFd<'_>, &Path, &Source, Option<&IdMappings>),
    options: CopyOptions,
    (root, ids): Shown<'_>,
    name: &str,
    path: &Path,
) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(no_directory());
    }
    // A link at the end means what it leads to, which need not be there yet.
    let wanted = followed(root, relative(path)).map_err(|error| in_container(error, name, &holder(path)))?;
    let kind = kind_of(root, &wanted, true)?;
    if kind == Found::Nothing {
        let parent = wanted.parent().unwrap_or(Path::new("")).to_owned();
        if kind_of(root, &parent, true)? != Found::Directory {
            return Err(no_path_in(name, &holder(path)));
        }
    }
    let place = place(end, kind, path, wanted)?;
    let owners = |owner| {
        let meant = inside(from_ids)(owner);
        ids.map_or(meant, |ids| ids.to_outside(meant))
    };
    let layer = LayerCopy { owners: Some(&owners), follow: options.follow, ..LayerCopy::default() };
    as_root_of(ids, |_| {
        copy_into(from, from_path, root, &place, &layer).map(drop).map_err(|source| Error::Layer {
            operation: "copy to",
            layer: format!("{name}:{}", path.display()),
            source,
        })
    })
}

/// The directory that a path in a container is in.
fn holder(path: &Path) -> PathBuf {
    Path::new("/").join(relative(path).parent().unwrap_or(Path::new("")))
}

/// What is to be copied.
#[derive(Debug, Clone)]
struct Source {
    directory: bool,
    // `PATH/.`: what is in the directory, not the directory.
    contents: bool,
    // How the copy is called in a directory; empty for the root.
    name: OsString,
}

impl Source {
    /// Looks a source up below a root. The path that comes back is looked up again by the copy: a container that
    /// changes it meanwhile chooses only among its own files.
    fn find(root: BorrowedFd<'_>, path: &Path, follow: bool) -> mica_layer::Result<(PathBuf, Source)> {
        let wanted = relative(path);
        let name = wanted.file_name().unwrap_or_default().to_owned();
        let contents = ends_in_dot(path);
        let mut at = wanted;
        if follow || contents || ends_in_slash(path) {
            at = followed(root, at)?;
        }
        let directory = match at.file_name() {
            None => true,
            Some(_) => {
                let (parent, last) = beneath::open_parent(root, &at)?;
                let stat = statat(&parent, &last, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| mica_layer::Error::Io { op: "find", path: at.clone(), source: errno.into() })?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
        };
        Ok((at, Source { directory, contents, name }))
    }
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Directory,
    Other,
}

/// Where a copy goes, by the rules of `cp`: `wanted` is the target's own path below its root.
fn place(source: &Source, target: Found, target_path: &Path, wanted: PathBuf) -> Result<PathBuf> {
    match (source.directory, target) {
        (_, Found::Directory) if source.contents || source.name.is_empty() => Ok(wanted),
        (_, Found::Directory) => Ok(wanted.join(&source.name)),
        (true, Found::Other) => Err(Error::refused(Kind::InvalidInput, "cannot copy directory")),
        (true, Found::Nothing) => Ok(wanted),
        (false, _) if ends_in_slash(target_path) => Err(no_directory()),
        (false, _) => Ok(wanted),
    }
}

struct HostTarget {
    directory: OwnedFd,
    name: PathBuf,
    kind: Found,
}

/// The host's side of a copy: a directory and the target's name in it. The user named it, so its links are followed.
fn host_directory(target: &Path) -> Result<HostTarget> {
    let kind = match fs_err::metadata(target) {
        Ok(metadata) if metadata.is_dir() => Found::Directory,
        Ok(_) => Found::Other,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Nothing,
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(Error::refused(Kind::InvalidInput, format!("stat {}: not a directory", target.display())));
        }
        Err(error) => return Err(Error::io("look at", target)(error)),
    };
    let real = match kind {
        Found::Nothing => {
            let name = target.file_name().ok_or_else(no_directory)?;
            let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let parent = fs_err::canonicalize(parent).map_err(|_| {
                let message = format!("invalid output path: directory \"{}\" does not exist", parent.display());
                Error::refused(Kind::NotFound, message)
            })?;
            parent.join(name)
        }
        _ => fs_err::canonicalize(target).map_err(Error::io("find", target))?,
    };
    let (directory, name) = match (real.parent(), real.file_name()) {
        (Some(parent), Some(name)) => (parent.to_owned(), PathBuf::from(name)),
        _ => (PathBuf::from("/"), PathBuf::new()),
    };
    Ok(HostTarget { directory: open_host(&directory)?, name, kind })
}

fn host_parent(source: &Path) -> Result<(OwnedFd, PathBuf)> {
    // `dir/.`, `..` and `/` have no name of their own; their real path has.
    let named = source.components().next_back().is_some_and(|last| matches!(last, Component::Normal(_)));
    let real = if named && !ends_in_dot(source) {
        source.to_owned()
    } else {
        fs_err::canonicalize(source).map_err(|_| no_source(source))?
    };
    match (real.parent(), real.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let parent = open_host(parent).map_err(|_| no_source(source))?;
            let slash = if ends_in_slash(source) { "/" } else { "" };
            let mut name = name.to_owned();
            name.push(slash);
            Ok((parent, name.into()))
        }
        _ => Ok((open_host(Path::new("/"))?, PathBuf::from("/"))),
    }
}

fn open_host(directory: &Path) -> Result<OwnedFd> {
    rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io("open", directory)(errno.into()))
}

fn kind_of(root: BorrowedFd<'_>, path: &Path, follow: bool) -> Result<Found> {
    let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
    match beneath::open(root, path, flags, Mode::empty()) {
        Ok(found) => {
            let stat = rustix::fs::fstat(&found).map_err(|errno| Error::io("look at", path)(errno.into()))?;
            Ok(if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                Found::Directory
            } else {
                Found::Other
            })
        }
        Err(error) if error.kind() == mica_layer::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(source) => Err(Error::Layer { operation: "look into", layer: path.display().to_string(), source }),
    }
}

/// The path with a last component that is no symbolic link.
fn followed(root: BorrowedFd<'_>, mut path: PathBuf) -> mica_layer::Result<PathBuf> {
    for _ in 0..LINKS_MAX {
        if path.file_name().is_none() {
            return Ok(path);
        }
        let (parent, name) = beneath::open_parent(root, &path)?;
        let Ok(target) = readlinkat(&parent, &name, Vec::new()) else { return Ok(path) };
        let target = PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(target.into_bytes()));
        let joined = if target.is_absolute() { target } else { path.parent().unwrap_or(Path::new("")).join(target) };
        path = relative(&joined);
    }
    Ok(path)
}

/// A path below a root, `.` and `..` resolved by their text as Docker does.
fn relative(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

fn ends_in_dot(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes == b"." || bytes.ends_with(b"/.")
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn in_container(error: mica_layer::Error, name: &str, path: &Path) -> Error {
    if error.kind() == mica_layer::ErrorKind::NotFound {
        return no_path_in(name, path);
    }
    Error::Layer { operation: "look into", layer: format!("{name}:{}", path.display()), source: error }
}

fn no_path_in(name: &str, path: &Path) -> Error {
    Error::refused(Kind::NotFound, format!("no such container:path: `{name}:{}`", path.display()))
}

fn no_source(path: &Path) -> Error {
    Error::refused(Kind::NotFound, format!("lstat {}: no such file or directory", path.display()))
}

fn no_directory() -> Error {
    Error::refused(Kind::NotFound, "no such directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_named_as_cp_names_them() {
        let source = |directory, contents| Source { directory, contents, name: "src".into() };
        for (directory, contents, found, target, wanted) in [
            (false, false, Found::Nothing, "/d/new", Some("d/new")),
            (false, false, Found::Nothing, "/d/new/", None),
            (false, false, Found::Other, "/d/old", Some("d/old")),
            (false, false, Found::Other, "/d/old/", None),
            (false, false, Found::Directory, "/d", Some("d/src")),
            (true, false, Found::Nothing, "/d/new", Some("d/new")),
            (true, false, Found::Other, "/d/old", None),
            (true, false, Found::Directory, "/d", Some("d/src")),
            (true, true, Found::Directory, "/d", Some("d")),
            (true, true, Found::Nothing, "/d/new", Some("d/new")),
        ] {
            let target = Path::new(target);
            let found = place(&source(directory, contents), found, target, relative(target)).ok();
            assert_eq!(found.as_deref(), wanted.map(Path::new), "{directory} {contents} {target:?}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_host(dir.path()).unwrap();
        fs_err::create_dir_all(dir.path().join("etc/real")).unwrap();
        std::os::unix::fs::symlink("/etc/real", dir.path().join("abs")).unwrap();
        std::os::unix::fs::symlink("../../../../abs", dir.path().join("etc/up")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        for (path, follow, wanted, directory) in [
            ("/abs", true, "etc/real", true),
            ("/abs", false, "abs", false),
            ("/abs/.", false, "etc/real", true),
            ("/abs/", false, "etc/real", true),
            ("/etc/up", true, "etc/real", true),
            ("/loop", true, "loop", false),
            ("/../..", false, "", true),
        ] {
            let (found, source) = Source::find(root.as_fd(), Path::new(path), follow).unwrap();
            assert_eq!((found.as_path(), source.directory), (Path::new(wanted), directory), "{path}");
        }
        assert!(Source::find(root.as_fd(), Path::new("/none"), false).is_err());
        // The host has this file; the root has not.
        assert!(Source::find(root.as_fd(), Path::new("/etc/passwd"), true).is_err());
    }
}
