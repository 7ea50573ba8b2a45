//! Makes the changes of one tree in another one that stands on the same layers: what moves a container between drivers.
//!
//! Not by way of an archive: bytes are shared where both trees lie on a file system that can, holes stay holes, and nothing
//! is written twice.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::node::{self, Name, Overrides, Ways};
use super::{Copied, link};
use crate::archive::Time;
use crate::changes::Change;
use crate::diff::{Steps, plan};
use crate::error::{Error, Result};
use crate::{attributes, beneath};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Makes `changes` below `to`, which shows the tree they were made to; what they brought is read below `from`, which may be
/// a merged view or an overlay upper directory.
///
/// Nobody else may use either tree. Both end up alike in everything but access times, and names that were one file are one
/// again.
pub fn copy_changes(changes: &[Change], from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Copied> {
    if changes.is_empty() {
        return Ok(Copied::default());
    }
    // A detached mount's own descriptor is one of a path and takes no times.
    let top = beneath::open_physical(to, b"", DIRECTORY).map_err(|e| Error::io("open directory", b"", e))?;
    let before = rustix::fs::fstat(&top).map_err(|e| Error::io("read", b"", e))?;
    let mut replay =
        Replay { from, to, links: HashMap::new(), ways: Ways::default(), parent: None, copied: Copied::default() };
    let plan = plan(changes);
    let mut directories = BTreeSet::new();
    for (path, steps) in &plan {
        if replay.step(path, *steps)? {
            directories.insert(*path);
        }
    }
    // Each after all that is in it, so that nothing touches its time any more.
    for path in directories.iter().rev() {
        replay.dress(path)?;
    }
    if !directories.contains(Path::new("")) {
        rustix::fs::futimens(&top, &Time::of(&before).to_set()).map_err(|e| Error::io("set the time of", b"", e))?;
    }
    Ok(replay.copied)
}

struct Replay<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    /// Where a file with several names was copied to first.
    links: HashMap<(u64, u64), Vec<u8>>,
    ways: Ways,
    /// The directories of the last path.
    parent: Option<Parent>,
    copied: Copied,
}

struct Parent {
    path: Vec<u8>,
    from: OwnedFd,
    to: OwnedFd,
    inherits: bool,
}

impl Replay<'_> {
    /// Brings one path about; true for a directory, whose attributes come at the end.
    fn step(&mut self, path: &Path, steps: Steps) -> Result<bool> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Ok(true);
        }
        let (holder, name) = beneath::split(bytes);
        let failed = |e| Error::io("copy", bytes, e);
        if steps.delete || steps.hide {
            remove(beneath::open_physical(self.to, holder, DIRECTORY).map_err(failed)?.as_fd(), name)
                .map_err(failed)?;
        }
        if !steps.write {
            return Ok(false);
        }
        self.enter(holder)?;
        let Some(parent) = &self.parent else { return Ok(false) };
        let stat = rustix::fs::statat(&parent.from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        self.copied.entries += 1;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match rustix::fs::mkdirat(&parent.to, name, Mode::RWXU) {
                Err(Errno::EXIST) if is_directory(parent.to.as_fd(), name).map_err(failed)? => {}
                Err(Errno::EXIST) => {
                    remove(parent.to.as_fd(), name).map_err(failed)?;
                    rustix::fs::mkdirat(&parent.to, name, Mode::RWXU).map_err(failed)?;
                }
                made => made.map_err(failed)?,
            }
            return Ok(true);
        }
        remove(parent.to.as_fd(), name).map_err(failed)?;
        let to = Name { dir: parent.to.as_fd(), name, inherits: parent.inherits };
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                link(self.to, first, to, bytes)?;
                return Ok(false);
            }
            self.links.insert(inode, bytes.to_vec());
        }
        let from = Name::new(parent.from.as_fd(), name);
        self.copied.bytes += node::copy(from, to, Overrides::default(), &mut self.ways, bytes)?;
        Ok(false)
    }

    /// Opens a directory on both sides. It is there: whatever leads to a change comes before it.
    fn enter(&mut self, path: &[u8]) -> Result<()> {
        if self.parent.as_ref().is_some_and(|parent| parent.path == path) {
            return Ok(());
        }
        let open =
            |root| beneath::open_physical(root, path, DIRECTORY).map_err(|e| Error::io("open directory", path, e));
        let (from, to) = (open(self.from)?, open(self.to)?);
        let inherits = attributes::has_default_acl(to.as_fd());
        self.parent = Some(Parent { path: path.to_vec(), from, to, inherits });
        Ok(())
    }

    /// Gives a directory what its source has, and takes away what that has not.
    fn dress(&self, path: &Path) -> Result<()> {
        let bytes = path.as_os_str().as_bytes();
        let open =
            |root| beneath::open_physical(root, bytes, DIRECTORY).map_err(|e| Error::io("open directory", bytes, e));
        let (from, to) = (open(self.from)?, open(self.to)?);
        let stat = rustix::fs::fstat(&from).map_err(|e| Error::io("read", bytes, e))?;
        attributes::retain(to.as_fd(), &attributes::read(from.as_fd(), b"", bytes)?, bytes)?;
        node::dress(Name::new(from.as_fd(), b"."), &stat, to.as_fd(), Overrides::default(), bytes)
    }
}

fn is_directory(dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match beneath::remove_all(dir, name) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::Timestamps;

    use super::*;
    use crate::changes::{ChangeKind, compare_trees};
    use crate::fixture::{Root, skipped_unless_root};

    /// A tree with one of everything that can change.
    fn base() -> Root {
        let root = Root::new();
        root.write("etc/kept", "k")
            .write("etc/gone", "g")
            .write("dir/a/b", "b")
            .write("file", "f")
            .write("links/one", "1");
        root.symlink("etc/kept", "link").write("hidden/old", "o").write("quiet/x", "x").write("quiet/y", "y");
        fs_err::hard_link(root.path("links/one"), root.path("links/two")).unwrap();
        root
    }

    #[test]
    fn privileged_one_tree_becomes_the_other() {
        if skipped_unless_root() {
            return;
        }
        let (lower, upper, copy) = (base(), base(), base());
        // Made at different times, the three differ in those alone.
        for root in [&lower, &upper, &copy] {
            for path in [
                "",
                "etc",
                "etc/kept",
                "etc/gone",
                "dir",
                "dir/a",
                "dir/a/b",
                "file",
                "links",
                "links/one",
                "link",
                "hidden",
                "hidden/old",
                "quiet",
                "quiet/x",
                "quiet/y",
            ] {
                touch(root, path);
            }
        }
        let run = |line: &str| {
            let status = std::process::Command::new("sh").args(["-ec", line]).current_dir(upper.path("")).status();
            assert!(status.unwrap().success(), "{line}");
        };
        run(
            "rm etc/gone; echo new > etc/new; chown 3:4 etc; chmod 2750 etc; setfattr -n user.a -v b etc 2>/dev/null || true",
        );
        run("rm -r dir; echo file > dir; rm file; mkdir -p file/sub; echo x > file/sub/x; chmod 4755 file/sub/x");
        run("ln links/one links/three; echo more >> links/one; rm link; ln -s elsewhere link; chown -h 9:9 link");
        run("rm -r hidden; mkdir hidden; echo n > hidden/new; mknod null c 1 3; mkfifo pipe; mkdir -m 000 closed");
        run("truncate -s 64M sparse; printf end | dd of=sparse bs=1 seek=67108861 conv=notrunc status=none");
        run("rm quiet/x; n=$(printf 'n%.0s' $(seq 255)); echo long > \"$n\"; printf x > \"$(printf 'new\\nline')\"");
        touch(&upper, "quiet");
        let mut changes = Vec::new();
        compare_trees(Some(lower.fd()), upper.fd(), &mut |change| changes.push(change)).unwrap();
        let quiet = |kind| Change { path: "quiet".into(), kind };
        assert!(!changes.contains(&quiet(ChangeKind::Modified)), "only what is in it has changed");
        copy_changes(&changes, upper.fd(), copy.fd()).unwrap();
        assert_eq!(copy.tree().diff(&upper.tree()), "");
        assert!(fs_err::metadata(copy.path("sparse")).unwrap().blocks() < 1000);
        assert_eq!(copy_changes(&[], upper.fd(), lower.fd()).unwrap(), Copied::default());
    }

    #[test]
    fn privileged_an_opaque_directory_hides_what_was_there() {
        if skipped_unless_root() {
            return;
        }
        let (upper, copy) = (Root::new(), base());
        upper.write("hidden/new", "n");
        let change = |path: &str, kind| Change { path: path.into(), kind };
        let changes = [change("hidden", ChangeKind::Opaque), change("hidden/new", ChangeKind::Added)];
        let root = fs_err::metadata(copy.path("")).unwrap().mtime_nsec();
        copy_changes(&changes, upper.fd(), copy.fd()).unwrap();
        assert!(!copy.path("hidden/old").exists());
        assert_eq!(copy.text("hidden/new"), "n");
        assert_eq!(fs_err::metadata(copy.path("")).unwrap().mtime_nsec(), root);
    }

    fn touch(root: &Root, path: &str) {
        let time = rustix::fs::Timespec { tv_sec: 1_700_000_000, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, root.path(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}
