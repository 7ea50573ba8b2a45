//! A file on its way to its name: nameless while it is written, so that a process that dies leaves nothing of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::store::fresh_id;
use crate::{Error, Result};

/// A file that gets its name when it is whole, in place of what had the name before.
#[derive(Debug)]
pub(crate) struct Part {
    directory: OwnedFd,
    name: OsString,
    /// The name in messages.
    shown: PathBuf,
    file: File,
    /// What it is called meanwhile, where the file system has no nameless files.
    meanwhile: Option<OsString>,
}

impl Part {
    /// Begins a file at a path.
    pub(crate) fn at(path: &Path, umask: u32) -> Result<Part> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(parent, flags, Mode::empty()).map_err(|errno| Error::io("open", parent)(errno.into()))?;
        let name = path.file_name().ok_or_else(|| Error::io("create", path)(Errno::ISDIR.into()))?;
        Part::below(directory, name, path.to_owned(), umask)
    }

    /// Begins a file in a directory that is open.
    pub(crate) fn below(directory: OwnedFd, name: &OsStr, shown: PathBuf, umask: u32) -> Result<Part> {
        let mode = Mode::from_raw_mode(0o666 & !umask);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fail = |errno: Errno| Error::io("create", &shown)(errno.into());
        let (file, meanwhile) = match rustix::fs::openat(&directory, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                let meanwhile = temporary();
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                (rustix::fs::openat(&directory, &meanwhile, flags, mode).map_err(fail)?, Some(meanwhile))
            }
            Err(errno) => return Err(fail(errno)),
        };
        Ok(Part { directory, name: name.to_owned(), shown, file: file.into(), meanwhile })
    }

    /// The file, to write and read.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// What messages call it.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Gives it its name.
    pub(crate) fn place(mut self) -> Result<()> {
        let fail = |errno: Errno| Error::io("create", &self.shown)(errno.into());
        let meanwhile = match self.meanwhile.clone() {
            Some(meanwhile) => meanwhile,
            None => {
                // A nameless file cannot take the place of another; one with a name can.
                let meanwhile = temporary();
                let itself = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, itself, &self.directory, &meanwhile, AtFlags::SYMLINK_FOLLOW).map_err(fail)?;
                meanwhile
            }
        };
        self.meanwhile = Some(meanwhile.clone());
        rustix::fs::renameat(&self.directory, &meanwhile, &self.directory, &self.name)
            .map_err(|errno| Error::io("create", &self.shown)(errno.into()))?;
        self.meanwhile = None;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(meanwhile) = &self.meanwhile {
            let _ = rustix::fs::unlinkat(&self.directory, meanwhile, AtFlags::empty());
        }
    }
}

/// A nameless file in a folder, for bytes that must be read more than once.
pub(crate) fn scratch(folder: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| Error::io("open", folder)(errno.into()))?;
    let part = Part::below(directory, OsStr::new("scratch"), folder.to_owned(), 0o077)?;
    // Dropping the part takes a name away that it may have; the descriptor keeps the bytes.
    part.file.try_clone().map_err(Error::io("reopen", folder))
}

fn temporary() -> OsString {
    format!(".mica-{}", &fresh_id()[..16]).into()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let names = || fs_err::read_dir(folder.path()).unwrap().count();
        let mut part = Part::at(&path, 0o027).unwrap();
        part.file().write_all(b"lost").unwrap();
        assert_eq!(names(), 0);
        drop(part);
        assert_eq!(names(), 0);
        for content in ["one", "another"] {
            let mut part = Part::at(&path, 0o027).unwrap();
            part.file().write_all(content.as_bytes()).unwrap();
            part.place().unwrap();
            assert_eq!(fs_err::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(), 1);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs_err::metadata(&path).unwrap()) & 0o777;
        assert_eq!(mode, 0o640);
    }
}
