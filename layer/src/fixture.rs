//! What the tests of this crate share: roots to write into, and archives written by the `tar` crate.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::apply::{Applied, Limits, Target, Whiteouts, apply};
use crate::error::Result;
use crate::tree::Tree;
use crate::verify::{Difference, Verifier};

/// Whether this test must be left out; says so, and fails where nothing may be.
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
pub fn skipped(missing: Option<&str>) -> bool {
    if let Some(missing) = missing {
        assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "skipped although MICA_NO_SKIP is set: {missing}");
        eprintln!("skipped: {missing}");
    }
    missing.is_some()
}

/// Whether this test must be left out because it is not run by root.
pub fn skipped_unless_root() -> bool {
    skipped((!rustix::process::geteuid().is_root()).then_some("needs root"))
}

/// A directory that goes away with the test.
#[derive(Debug)]
pub struct Root {
    dir: tempfile::TempDir,
    fd: OwnedFd,
}

impl Root {
    pub fn new() -> Root {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Root { fd: fd.unwrap(), dir }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn tree(&self) -> Tree {
        Tree::read(self.fd()).unwrap()
    }

    pub fn text(&self, below: &str) -> String {
        fs_err::read_to_string(self.path(below)).unwrap()
    }

    /// The paths below, `/` after directories, in one line.
    pub fn list(&self) -> String {
        let tree = self.tree();
        let shown = tree.paths().filter(|p| !p.is_empty()).map(|p| {
            let path = self.dir.path().join(OsStr::from_bytes(p));
            let is_dir = fs_err::symlink_metadata(path).unwrap().is_dir();
            String::from_utf8_lossy(p).into_owned() + if is_dir { "/" } else { "" }
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    pub fn mkdir(&self, below: &str) -> &Root {
        fs_err::create_dir_all(self.path(below)).unwrap();
        self
    }

    pub fn write(&self, below: &str, content: &str) -> &Root {
        fs_err::create_dir_all(self.path(below).parent().unwrap()).unwrap();
        fs_err::write(self.path(below), content).unwrap();
        self
    }

    pub fn symlink(&self, target: &str, below: &str) -> &Root {
        fs_err::os::unix::fs::symlink(target, self.path(below)).unwrap();
        self
    }

    pub fn apply(&self, tar: &Tar, whiteouts: Whiteouts) -> Result<Applied> {
        self.apply_above(tar, whiteouts, None)
    }

    pub fn apply_above(&self, tar: &Tar, whiteouts: Whiteouts, merged: Option<BorrowedFd<'_>>) -> Result<Applied> {
        let before = Before::of(self, whiteouts);
        let target = Target { root: self.fd(), merged, whiteouts };
        let applied = apply(&tar.finish()[..], &target, &Limits::default())?;
        if let Some(before) = before {
            assert_eq!(before.verify(self, tar, target), []);
        }
        Ok(applied)
    }
}

/// What a root held before a layer was applied to it: whatever is applied must be found sound.
struct Before(Root);

impl Before {
    /// Nothing where a comparison makes no sense: a target that shows one layer alone and is not empty.
    fn of(root: &Root, whiteouts: Whiteouts) -> Option<Before> {
        let before = Root::new();
        if whiteouts != Whiteouts::Direct {
            return root.list().is_empty().then_some(Before(before));
        }
        let mut copy = std::process::Command::new("cp");
        let status = copy.arg("-aT").arg(root.dir.path()).arg(before.dir.path()).status().unwrap();
        status.success().then_some(Before(before))
    }

    fn verify(&self, root: &Root, tar: &Tar, target: Target<'_>) -> Vec<Difference> {
        let merged = if target.whiteouts == Whiteouts::Direct { Some(self.0.fd()) } else { target.merged };
        let mut verifier = Verifier::new(Target { root: root.fd(), merged, ..target });
        verifier.layer(&tar.finish()[..]).unwrap();
        verifier.finish()
    }
}

/// An archive, built entry by entry. Names are stored as given, whatever they are.
#[derive(Debug, Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    pub fn add(mut self, name: &str, content: &[u8], change: impl FnOnce(&mut tar::Header)) -> Tar {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &str) -> Tar {
        self.add(name, content.as_bytes(), |_| {})
    }

    pub fn dir(self, name: &str) -> Tar {
        self.add(name, b"", |h| {
            h.set_entry_type(tar::EntryType::Directory);
            h.set_mode(0o755);
        })
    }

    pub fn link(self, kind: tar::EntryType, name: &str, target: &str) -> Tar {
        self.add(name, b"", |h| {
            h.set_entry_type(kind);
            h.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Symlink, name, target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Link, name, target)
    }

    pub fn char_device(self, name: &str, major: u32, minor: u32) -> Tar {
        self.add(name, b"", |h| {
            h.set_entry_type(tar::EntryType::Char);
            h.set_device_major(major).unwrap();
            h.set_device_minor(minor).unwrap();
        })
    }

    /// Puts a pax record before the next entry.
    pub fn pax(self, key: &str, value: &[u8]) -> Tar {
        let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        let record = [length.to_string().as_bytes(), &rest].concat();
        self.add("pax", &record, |h| h.set_entry_type(tar::EntryType::XHeader))
    }
}

/// Whether a program is installed.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Runs a program to its success, and returns its output.
pub fn run(program: &str, args: &[&OsStr]) -> Vec<u8> {
    let output = std::process::Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A path as an argument.
pub fn arg(path: &Path) -> &OsStr {
    path.as_os_str()
}
