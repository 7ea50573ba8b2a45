//! `cp`: files between a container and the host, or a tar stream.
//!
//! A container is hostile, runs while it is copied from, and swaps directories for symbolic links (CVE-2018-15664), so
//! its root is one descriptor and the kernel resolves every path below it.

use std::ffi::OsStr;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica_layer::{Decoder, Limits, Target, Whiteouts, beneath, copy_into};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use crate::ops::reach::Access;
use crate::{Engine, Error, Kind, Result};

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Follow a source path that is itself a symbolic link (`-L`).
    pub follow: bool,
    /// Keep owners (`-a`); else copies in a container belong to root and copies on the host to `owner`.
    pub archive: bool,
    /// Owner of copies on the host.
    pub owner: Option<(u32, u32)>,
}

impl Engine {
    /// Copies `path` of a container to `target` on the host, as `cp` names things.
    pub async fn copy_from(&self, container: &str, path: &Path, target: PathBuf, options: CopyOptions) -> Result<()> {
        let (found, path) = (self.container(container).await?, path.to_owned());
        self.blocking(move |engine| {
            let root = engine.container_root(&found, Access::Read)?;
            let owner = if options.archive { None } else { options.owner };
            copy(&Place { root: root.fd.as_fd(), path: &path }, &Place { root: host()?.as_fd(), path: &absolute(&target)? }, options, owner)
        })
        .await
    }

    /// Copies `source` of the host to `path` in a container, as `cp` names things.
    pub async fn copy_to(&self, source: PathBuf, container: &str, path: &Path, options: CopyOptions) -> Result<()> {
        let (found, path) = (self.container(container).await?, path.to_owned());
        self.blocking(move |engine| {
            let root = engine.container_root(&found, Access::Write)?;
            let owner = if options.archive { None } else { Some((0, 0)) };
            copy(&Place { root: host()?.as_fd(), path: &absolute(&source)? }, &Place { root: root.fd.as_fd(), path: &path }, options, owner)
        })
        .await
    }

    /// Writes `path` of a container as an archive (`cp CONTAINER:PATH -`).
    pub async fn copy_out(&self, container: &str, path: &Path, options: CopyOptions, mut out: Box<dyn Write + Send>) -> Result<()> {
        let (found, path) = (self.container(container).await?, path.to_owned());
        self.blocking(move |engine| {
            let root = engine.container_root(&found, Access::Read)?;
            let from = Place { root: root.fd.as_fd(), path: &path };
            from.kind(options.follow)?.ok_or_else(|| from.missing())?;
            let name = path.file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
            mica_layer::write_subtree(from.root, &path, &name, &mut out).map_err(from.fails("read"))?;
            out.flush().map_err(Error::io("write", "the archive"))
        })
        .await
    }

    /// Extracts an archive into the directory `path` of a container (`cp - CONTAINER:PATH`).
    pub async fn copy_in(&self, archive: Box<dyn Read + Send>, container: &str, path: &Path) -> Result<()> {
        let (found, path) = (self.container(container).await?, path.to_owned());
        self.blocking(move |engine| {
            let root = engine.container_root(&found, Access::Write)?;
            let to = Place { root: root.fd.as_fd(), path: &path };
            if to.kind(true)? != Some(FileType::Directory) {
                return Err(Error::refused(Kind::InvalidInput, format!("`{}` is not a directory in the container", path.display()))
                    .with_hint("an archive is extracted into a directory that exists"));
            }
            let directory = beneath::open_dir(to.root, &path).map_err(to.fails("open"))?;
            let target = Target { root: directory.as_fd(), merged: None, whiteouts: Whiteouts::OciFiles };
            let decoder = Decoder::new(BufReader::new(archive)).map_err(to.fails("read"))?;
            mica_layer::apply(decoder, &target, &Limits::default()).map_err(to.fails("extract to"))?;
            Ok(())
        })
        .await
    }
}

/// A path below a root.
struct Place<'a> {
    root: BorrowedFd<'a>,
    path: &'a Path,
}

impl Place<'_> {
    /// What the path names; `None` when there is nothing.
    fn kind(&self, follow: bool) -> Result<Option<FileType>> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        match beneath::open(self.root, self.path, OFlags::PATH | nofollow, Mode::empty()) {
            Ok(found) => {
                let stat = fstat(&found).map_err(|errno| Error::io("stat", self.path)(errno.into()))?;
                Ok(Some(FileType::from_raw_mode(stat.st_mode)))
            }
            Err(error) if error.kind() == mica_layer::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.fails("look up")(source)),
        }
    }

    fn missing(&self) -> Error {
        Error::refused(Kind::NotFound, format!("could not find the file `{}`", self.path.display()))
    }

    fn fails(&self, operation: &'static str) -> impl FnOnce(mica_layer::Error) -> Error {
        let layer = self.path.display().to_string();
        move |source| Error::Layer { operation, layer, source }
    }

    /// True when the path was written with a slash at its end, which asks for a directory.
    fn wants_directory(&self) -> bool {
        self.path.as_os_str().as_bytes().ends_with(b"/")
    }

    /// True for `DIR/.`, which means what is in the directory.
    fn means_content(&self) -> bool {
        let bytes = self.path.as_os_str().as_bytes();
        bytes == b"." || bytes.ends_with(b"/.") || self.path.file_name().is_none()
    }
}

/// Docker's rules for what a copy is called: into a directory that exists, under the source's name; else under the
/// target's own.
fn copy(from: &Place<'_>, to: &Place<'_>, options: CopyOptions, owner: Option<(u32, u32)>) -> Result<()> {
    let follow = options.follow || from.wants_directory() || from.means_content();
    let source = from.kind(follow)?.ok_or_else(|| from.missing())?;
    let is_directory = source == FileType::Directory;
    if from.wants_directory() && !is_directory {
        return Err(Error::refused(Kind::InvalidInput, format!("`{}` is not a directory", from.path.display())));
    }
    let target = match to.kind(true)? {
        Some(FileType::Directory) => match from.path.file_name() {
            Some(name) if !(is_directory && from.means_content()) => to.path.join(name),
            _ => to.path.to_owned(),
        },
        Some(_) if is_directory => {
            return Err(Error::refused(Kind::InvalidInput, format!("cannot copy a directory over the file `{}`", to.path.display())));
        }
        Some(_) => to.path.to_owned(),
        None => {
            if to.wants_directory() && !is_directory {
                return Err(Error::refused(Kind::NotFound, format!("the directory `{}` does not exist", to.path.display())));
            }
            let parent = to.path.parent().unwrap_or(Path::new("/"));
            if (Place { root: to.root, path: parent }).kind(true)? != Some(FileType::Directory) {
                return Err(Error::refused(Kind::NotFound, format!("the directory `{}` does not exist", parent.display())));
            }
            to.path.to_owned()
        }
    };
    let how = mica_layer::CopyOptions { owner, follow, ..mica_layer::CopyOptions::default() };
    copy_into(from.root, from.path, to.root, &target, &how).map_err(from.fails("copy"))?;
    Ok(())
}

fn host() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open("/", flags, Mode::empty()).map_err(|errno| Error::io("open", "/")(errno.into()))
}

/// Absolute, with the endings `/` and `/.` kept, which mean something.
fn absolute(path: &Path) -> Result<PathBuf> {
    let full = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    let ending = [&b"/."[..], b"/"].into_iter().find(|ending| path.as_os_str().as_bytes().ends_with(ending) || (*ending == b"/." && path == Path::new(".")));
    let mut text = full.into_os_string();
    if let Some(ending) = ending {
        while text.as_bytes().ends_with(b"/") {
            text = OsStr::from_bytes(&text.as_bytes()[..text.len() - 1]).to_owned();
        }
        text.push(OsStr::from_bytes(ending));
    }
    Ok(text.into())
}
