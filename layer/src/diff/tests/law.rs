//! The law: applying the difference of two trees to the first gives the second. On random trees that share names, so
//! that every kind of file turns into every other.

use std::os::fd::{AsFd, OwnedFd};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use crate::apply::{Limits, Target, Whiteouts, apply};
use crate::changes::compare_trees;
use crate::diff::write_layer;
use crate::fixture::{Root, skipped, skipped_unless_root};
use crate::tree::Tree;

/// One file of a random tree. What does not fit (a parent that is a file, a name that is taken) is not made.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    path: &'static str,
    what: What,
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
    xattr: Option<(&'static str, &'static [u8])>,
}

#[derive(Debug, Clone)]
enum What {
    File(&'static str),
    Dir,
    Symlink(&'static str),
    HardLink(&'static str),
    Device(u32),
    Fifo,
}

const PATHS: [&str; 12] =
    ["a", "a/x", "a/y", "a/x/1", "a/x/2", "b", "b/x", "b/.hidden", "c", "c/\u{fc}", "b.x", "a/x/1/deep"];

pub(crate) fn node() -> impl Strategy<Value = Node> {
    let what = prop_oneof![
        4 => prop::sample::select(vec!["", "x", "y", "a longer text"]).prop_map(What::File),
        4 => Just(What::Dir),
        1 => prop::sample::select(vec!["a", "/b/x", "nowhere"]).prop_map(What::Symlink),
        2 => prop::sample::select(PATHS.to_vec()).prop_map(What::HardLink),
        1 => (3u32..5).prop_map(What::Device),
        1 => Just(What::Fifo),
    ];
    let xattr = prop::option::weighted(
        0.3,
        prop::sample::select(vec![
            ("user.k", &b"v"[..]),
            ("user.k", b""),
            ("trusted.t", b"\0\n"),
            ("security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ]),
    );
    (
        prop::sample::select(PATHS.to_vec()),
        what,
        prop::sample::select(vec![0o644, 0o755, 0o4755, 0o2750, 0o1777, 0o000]),
        prop::sample::select(vec![(0, 0), (1000, 1000), (70_000, 0)]),
        prop::sample::select(vec![(1_000, 0), (1_000, 1), (1_700_000_000, 999_999_999)]),
        xattr,
    )
        .prop_map(|(path, what, mode, owner, time, xattr)| Node { path, what, mode, owner, time, xattr })
}

pub(crate) fn build(nodes: &[Node]) -> Root {
    let root = Root::new();
    for node in nodes {
        // Whatever the kernel refuses is not part of this tree.
        let _ = make(&root, node);
    }
    let mut dirs: Vec<&Node> = nodes.iter().filter(|n| matches!(n.what, What::Dir)).collect();
    dirs.sort_by_key(|n| std::cmp::Reverse(n.path));
    dirs.iter().for_each(|n| _ = touch(&root, n.path, n.time));
    touch(&root, ".", (5_000, 0)).unwrap();
    root
}

fn make(root: &Root, node: &Node) -> Result<(), Errno> {
    let (dir, path) = (root.fd(), node.path);
    let mode = Mode::from_raw_mode(node.mode);
    let is_link = matches!(node.what, What::Symlink(_));
    match node.what {
        What::File(text) => {
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE | rustix::fs::OFlags::EXCL;
            let file = rustix::fs::openat(dir, path, flags, mode)?;
            rustix::io::write(&file, text.as_bytes())?;
        }
        What::Dir => rustix::fs::mkdirat(dir, path, mode)?,
        What::Symlink(target) => rustix::fs::symlinkat(target, dir, path)?,
        What::HardLink(target) => return rustix::fs::linkat(dir, target, dir, path, AtFlags::empty()),
        What::Device(minor) => {
            rustix::fs::mknodat(dir, path, FileType::CharacterDevice, mode, rustix::fs::makedev(1, minor))?
        }
        What::Fifo => rustix::fs::mknodat(dir, path, FileType::Fifo, mode, 0)?,
    }
    let (uid, gid) = (Some(Uid::from_raw(node.owner.0)), Some(Gid::from_raw(node.owner.1)));
    rustix::fs::chownat(dir, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_link {
        rustix::fs::chmodat(dir, path, mode, AtFlags::empty())?;
    }
    if let Some((name, value)) = node.xattr {
        // The kernel allows few of them on links and devices.
        let _ = rustix::fs::lsetxattr(root.path(path), name, value, XattrFlags::empty());
    }
    touch(root, path, node.time)
}

fn touch(root: &Root, path: &str, (tv_sec, tv_nsec): (i64, i64)) -> Result<(), Errno> {
    let time = rustix::fs::Timespec { tv_sec, tv_nsec };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(root.fd(), path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

pub(crate) fn difference(lower: Option<&Root>, upper: &Root) -> Vec<u8> {
    let mut changes = Vec::new();
    compare_trees(lower.map(Root::fd), upper.fd(), &mut |change| changes.push(change)).unwrap();
    let mut tar = Vec::new();
    write_layer(&changes, upper.fd(), &mut tar).unwrap();
    tar
}

fn expect_equal(what: &str, found: &Tree, expected: &Tree) -> Result<(), TestCaseError> {
    let difference = expected.diff(found);
    prop_assert!(difference.is_empty(), "{} differs from what was expected:\n{}", what, difference);
    prop_assert_eq!(found.digest(), expected.digest());
    Ok(())
}

/// A read-only overlay of two directories, mounted nowhere; nothing where the kernel has no such mounts.
pub(crate) fn overlay(upper: &Root, lower: &Root) -> Result<OwnedFd, Errno> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for dir in [upper, lower] {
        fsconfig_set_string(context.as_fd(), "lowerdir+", dir.path("").as_path())?;
    }
    fsconfig_create(context.as_fd())?;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    rustix::fs::openat(mount, ".", rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY, Mode::empty())
}

/// Where failing cases would be kept; the cases are small enough to be read from the message.
pub(crate) fn config() -> Config {
    Config { cases: 200, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn privileged_applying_a_difference_in_place_gives_the_second_tree(
        a in prop::collection::vec(node(), 0..20),
        b in prop::collection::vec(node(), 0..20),
        shared in prop::collection::vec(node(), 0..8),
    ) {
        if skipped_unless_root() {
            return Ok(());
        }
        let (first, again) = ([&shared[..], &a].concat(), [&shared[..], &b].concat());
        let (lower, upper, target) = (build(&first), build(&again), build(&first));
        let tar = difference(Some(&lower), &upper);
        let place = Target { root: target.fd(), merged: None, whiteouts: Whiteouts::Direct };
        apply(&tar[..], &place, &Limits::default()).unwrap();
        expect_equal("the result", &target.tree(), &upper.tree())?;

        let empty = build(&[]);
        let place = Target { root: empty.fd(), merged: None, whiteouts: Whiteouts::Direct };
        let applied = apply(&difference(None, &upper)[..], &place, &Limits::default()).unwrap();
        prop_assert!(applied.independent);
        expect_equal("the whole tree", &empty.tree(), &upper.tree())?;
    }

    #[test]
    fn privileged_applying_a_difference_as_an_overlay_layer_shows_the_second_tree(
        a in prop::collection::vec(node(), 0..20),
        b in prop::collection::vec(node(), 0..20),
        shared in prop::collection::vec(node(), 0..8),
    ) {
        if skipped_unless_root() {
            return Ok(());
        }
        let (lower, upper, stage) =
            (build(&[&shared[..], &a].concat()), build(&[&shared[..], &b].concat()), build(&[]));
        let tar = difference(Some(&lower), &upper);
        let place = Target { root: stage.fd(), merged: None, whiteouts: Whiteouts::OverlayTrusted };
        let applied = apply(&tar[..], &place, &Limits::default()).unwrap();
        prop_assert!(applied.independent, "a layer that was written here needs nothing from below");
        match overlay(&stage, &lower) {
            Ok(view) => expect_equal("the mount", &Tree::read(view.as_fd()).unwrap(), &upper.tree())?,
            Err(e) => drop(skipped(Some(&format!("no detached overlay mount: {e}")))),
        }
    }
}
