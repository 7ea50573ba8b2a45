//! Where the files that Mica mounts into a root really go: images have links there that lead nowhere until something of
//! theirs runs, such as `/etc/resolv.conf` to a file of systemd's below `/run`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use mica_layer::beneath::{self, NewDir};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::bundle::merge::clean;
use crate::{Error, Result};

/// How many links in a row are followed, as the kernel does.
const LINKS: usize = 40;

/// The place that `path` names below `root`: where its last component is a link, what that leads to, there or not.
pub(crate) fn place_of(root: impl AsFd, path: &Path) -> Result<PathBuf> {
    let mut place = path.to_owned();
    for _ in 0..LINKS {
        let Ok((parent, name)) = beneath::open_parent(&root, &place) else { break };
        let is_link = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink);
        if !is_link {
            break;
        }
        let target =
            readlinkat(&parent, &name, Vec::new()).map_err(|errno| Error::io("read the link", &place)(errno.into()))?;
        let Ok(target) = String::from_utf8(target.into_bytes()) else { break };
        let from = place.parent().unwrap_or(Path::new("/"));
        place = clean(&from.join(target).to_string_lossy()).into();
    }
    Ok(place)
}

/// Makes an empty file where the link at `path` leads below `root`, if it is one that leads nowhere, in directories such as `new`.
pub(crate) fn end_link(root: impl AsFd, path: &Path, new: NewDir) -> Result<()> {
    let place = place_of(&root, path)?;
    if place == path {
        return Ok(());
    }
    let fail = |source| Error::Layer { operation: "make a mount point in", layer: place.display().to_string(), source };
    let above = place.parent().and_then(|parent| parent.strip_prefix("/").ok()).unwrap_or(Path::new(""));
    if !above.as_os_str().is_empty() {
        beneath::mkdir_all(&root, above, new).map_err(fail)?;
    }
    let (parent, name) = beneath::open_parent(&root, &place).map_err(fail)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(&parent, &name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::io("make the mount point", &place)(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_end_below_the_root() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let below = |path: &str| root.path().join(path);
        fs_err::create_dir(below("etc")).unwrap();
        fs_err::write(below("etc/hosts"), "kept").unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", below("etc/resolv.conf")).unwrap();
        symlink(outside.path().join("hostname"), below("etc/hostname")).unwrap();
        symlink("two", below("etc/one")).unwrap();
        symlink("one", below("etc/two")).unwrap();
        let fd = rustix::fs::open(root.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for path in ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/one", "/none/x"] {
            // A circle is refused later, where it is mounted on.
            drop(end_link(&fd, Path::new(path), NewDir::default()));
        }
        assert_eq!(place_of(&fd, Path::new("/etc/hosts")).unwrap(), Path::new("/etc/hosts"));
        assert_eq!(fs_err::read_to_string(below("etc/hosts")).unwrap(), "kept");
        assert!(below("run/systemd/resolve/stub-resolv.conf").is_file());
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
        let inside = outside.path().join("hostname");
        assert!(below(inside.strip_prefix("/").unwrap().to_str().unwrap()).is_file());
    }
}
