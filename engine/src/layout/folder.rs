//! A folder of members. A link in it may lead about inside it and never out: the kernel sees to that (openat2(2)).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mica_layer::beneath;
use mica_layer::beneath::NewDir;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::members::refused;
use super::part::Part;
use crate::{Error, Result};

/// How often a look-up is repeated that a rename in the folder disturbed.
const ATTEMPTS: u32 = 32;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    root: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder that is there.
    pub(crate) fn open(path: &Path) -> Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::io("open", path)(errno.into()))?;
        Ok(Folder { root, path: path.to_owned() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file in it; `None` when there is none. `name` has no `..` and does not begin with a slash.
    pub(crate) fn find(&self, name: &str) -> Result<Option<File>> {
        // A pipe must not hold anybody up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fail = |errno: Errno| Error::io("open", self.path.join(name))(errno.into());
        for _ in 0..ATTEMPTS {
            let file: File = match rustix::fs::openat2(&self.root, name, flags, Mode::empty(), inside) {
                Ok(file) => file.into(),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(Errno::XDEV | Errno::LOOP) => {
                    return Err(refused(format!("`{}` leads out of `{}`", shown(name), self.path.display())));
                }
                Err(Errno::AGAIN) => continue,
                Err(errno) => return Err(fail(errno)),
            };
            if !file.metadata().map_err(Error::io("stat", self.path.join(name)))?.is_file() {
                return Err(refused(format!("`{}` in `{}` is not a file", shown(name), self.path.display())));
            }
            return Ok(Some(file));
        }
        Err(fail(Errno::AGAIN))
    }

    /// Begins a file in it, making the folders that lead there.
    pub(crate) fn begin(&self, name: &str, umask: u32) -> Result<Part> {
        let place = Path::new(name);
        let directory = self.make(place.parent().unwrap_or(Path::new("")), umask)?;
        let file = place.file_name().ok_or_else(|| refused(format!("`{}` names no file", shown(name))))?;
        Part::below(directory, file, self.path.join(name), umask)
    }

    /// Makes a folder in it.
    pub(crate) fn make(&self, name: &Path, umask: u32) -> Result<OwnedFd> {
        let new = NewDir {
            mode: 0o777 & !umask,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let place = self.path.join(name);
        beneath::mkdir_all(&self.root, name, new).map_err(|source| Error::Adapter {
            kind: crate::Kind::Internal,
            context: format!("cannot create `{}`", place.display()),
            source: Box::new(source),
        })
    }
}

fn shown(name: &str) -> String {
    name.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_about_inside_and_never_out() {
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("secret"), "s").unwrap();
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs_err::create_dir_all(path("blobs/real")).unwrap();
        fs_err::write(path("blobs/real/a"), "a").unwrap();
        symlink("real", path("blobs/inside")).unwrap();
        symlink(outside.path(), path("blobs/absolute")).unwrap();
        symlink("../../../../etc", path("blobs/climbs")).unwrap();
        symlink(outside.path().join("secret"), path("file")).unwrap();
        let folder = Folder::open(place.path()).unwrap();
        for (name, expected) in [
            ("blobs/real/a", Ok(true)),
            ("blobs/inside/a", Ok(true)),
            ("blobs/real/b", Ok(false)),
            ("blobs/real/a/b", Ok(false)),
            ("blobs/absolute/secret", Err("leads out of")),
            ("blobs/climbs/passwd", Err("leads out of")),
            ("file", Err("leads out of")),
            ("blobs", Err("is not a file")),
        ] {
            match (folder.find(name), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.is_some(), expected, "{name}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{name}: {error}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        // What is written stays inside too.
        let written = folder.begin("blobs/absolute/new", 0o022).map(|part| part.place());
        assert!(!outside.path().join("new").exists(), "{written:?}");
    }
}
