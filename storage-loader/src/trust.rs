//! Whether a file may be loaded as code. Constructors run inside `dlopen`, so all of this happens before it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::error::Refusal;
use crate::owners::Owners;

/// Checks a plugin file and yields the path to load (absolute, without symbolic links), the opened file and its size.
///
/// The file and every directory above it must belong to root or to us and be closed to the writes of others; a directory may
/// be open to them if it is root's and sticky, as `/tmp` is, for then they cannot replace what they do not own. Checking the
/// resolved path is enough, because whoever controls a link on the way can only lead us to another file that passes.
pub fn check(path: &Path, owners: &Owners) -> Result<(PathBuf, OwnedFd, u64), Refusal> {
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = fs_err::canonicalize(parent).map_err(|error| unreadable(path, error))?;
    let path = parent.join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP) => return Err(Refusal::Symlink { path }),
        Err(errno) => return Err(unreadable(&path, errno.into())),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| unreadable(&path, errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::NotAFile { path });
    }
    judge(&path, &stat, Place::File, owners)?;
    for dir in parent.ancestors() {
        let stat = rustix::fs::lstat(dir).map_err(|errno| unreadable(dir, errno.into()))?;
        judge(dir, &stat, Place::Directory, owners)?;
    }
    // A regular file's size is never negative.
    Ok((path, file, stat.st_size as u64))
}

#[derive(PartialEq)]
enum Place {
    File,
    Directory,
}

fn judge(path: &Path, stat: &Stat, place: Place, owners: &Owners) -> Result<(), Refusal> {
    let path = || path.to_owned();
    let roots = stat.st_uid == 0 || owners.knows(stat);
    if !roots && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Refusal::Owner { path: path(), uid: stat.st_uid });
    }
    let sticky = place == Place::Directory && roots && stat.st_mode & 0o1000 != 0;
    if stat.st_mode & 0o022 != 0 && !sticky {
        return Err(Refusal::Writable { path: path(), mode: stat.st_mode & 0o7777 });
    }
    Ok(())
}

fn unreadable(path: &Path, source: std::io::Error) -> Refusal {
    // fs-err's wrapper repeats the path, which the refusal names itself.
    let source = match source.raw_os_error() {
        Some(errno) => std::io::Error::from_raw_os_error(errno),
        None => std::io::Error::from(source.kind()),
    };
    Refusal::Unreadable { path: path.to_owned(), source }
}
