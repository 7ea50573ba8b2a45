//! What a layer's archive consists of.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};

use crate::archive::{Archive, Kind};
use crate::changes::{Change, ChangeKind};
use crate::diff::{write_layer, write_subtree, write_tree};
use crate::fixture::{Root, skipped_unless_root};

/// The entries of an archive: kind, name and link, one per word.
fn entries(tar: &[u8]) -> String {
    let mut archive = Archive::new(tar);
    let mut list = Vec::new();
    while let Some(entry) = archive.next().unwrap() {
        let name = String::from_utf8_lossy(&entry.path);
        list.push(match entry.kind {
            Kind::Directory => format!("{name}/"),
            Kind::HardLink => format!("{name}={}", String::from_utf8_lossy(&entry.link)),
            Kind::Symlink => format!("{name}->{}", String::from_utf8_lossy(&entry.link)),
            _ => name.into_owned(),
        });
    }
    list.join(" ")
}

fn change(kind: ChangeKind, path: &str) -> Change {
    Change { path: PathBuf::from(path), kind }
}

fn layer(root: &Root, changes: &[Change]) -> Vec<u8> {
    let mut tar = Vec::new();
    let stats = write_layer(changes, root.fd(), &mut tar).unwrap();
    assert_eq!(stats.size, tar.len() as u64);
    tar
}

#[test]
fn a_layer_is_sorted_and_brings_its_parents() {
    use ChangeKind::{Added, Deleted, Modified, Opaque};
    let root = Root::new();
    root.write("a/b/f", "1").write("a/c", "2").write("a.x", "3").write("o/n", "4");
    for (case, changes, expected) in [
        ("a file", vec![change(Modified, "a/b/f")], "a/ a/b/ a/b/f"),
        (
            "order and repetition",
            vec![change(Added, "a.x"), change(Added, "a/c"), change(Modified, "a"), change(Added, "a.x")],
            "a/ a/c a.x",
        ),
        ("deletions", vec![change(Deleted, "gone"), change(Deleted, "a/b/gone")], "a/ a/b/ a/b/.wh.gone .wh.gone"),
        ("opaque", vec![change(Opaque, "o"), change(Added, "o/n")], "o/ o/.wh..wh..opq o/n"),
        ("replaced", vec![change(Deleted, "a.x"), change(Added, "a.x")], ".wh.a.x a.x"),
        ("vanished since", vec![change(Modified, "a/left"), change(Added, "a/passing")], "a/ a/.wh.left"),
        ("the root", vec![change(Modified, "")], "./"),
        ("nothing", vec![], ""),
    ] {
        assert_eq!(entries(&layer(&root, &changes)), expected, "{case}");
    }
}

#[test]
fn the_same_changes_give_the_same_bytes() {
    let time = rustix::fs::Timespec { tv_sec: 7, tv_nsec: 8 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let tars: Vec<Vec<u8>> = [["x", "y", "z"], ["z", "x", "y"]]
        .map(|order| {
            let root = Root::new();
            order.iter().for_each(|name| _ = root.write(&format!("d/{name}"), name));
            for name in ["d/x", "d/y", "d/z", "d"] {
                rustix::fs::utimensat(rustix::fs::CWD, root.path(name), &times, AtFlags::empty()).unwrap();
            }
            let changes: Vec<Change> = order.iter().map(|n| change(ChangeKind::Added, &format!("d/{n}"))).collect();
            layer(&root, &changes)
        })
        .to_vec();
    assert!(tars[0] == tars[1]);
}

#[test]
fn hard_links_stay_within_the_layer() {
    let root = Root::new();
    root.write("b", "x");
    fs_err::hard_link(root.path("b"), root.path("a")).unwrap();
    fs_err::hard_link(root.path("b"), root.path("c")).unwrap();
    let both = [change(ChangeKind::Added, "b"), change(ChangeKind::Added, "a")];
    assert_eq!(entries(&layer(&root, &both)), "a b=a");
    assert_eq!(entries(&layer(&root, &both[..1])), "b", "the other names are in no layer of this archive");
}

#[test]
fn privileged_overlays_own_attributes_and_sockets_stay_behind() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    root.mkdir("d").write("d/f", "x");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(root.path("d"), "trusted.overlay.opaque", b"y", flags).unwrap();
    rustix::fs::lsetxattr(root.path("d"), "user.overlay.origin", b"y", flags).unwrap();
    rustix::fs::lsetxattr(root.path("d"), "user.kept", b"y", flags).unwrap();
    rustix::fs::mknodat(root.fd(), "socket", FileType::Socket, Mode::RWXU, 0).unwrap();
    let mut tar = Vec::new();
    let stats = write_tree(root.fd(), None, &mut tar).unwrap();
    assert_eq!((stats.entries, stats.sockets, stats.bytes), (2, 1, 1));
    let mut archive = Archive::new(&tar[..]);
    let dir = archive.next().unwrap().unwrap();
    assert_eq!(dir.xattrs, [(b"user.kept".to_vec(), b"y".to_vec())]);
}

#[test]
fn a_subtree_gets_the_name_it_is_given() {
    let root = Root::new();
    root.write("etc/conf/a", "1").symlink("/etc/conf", "link");
    for (path, name, expected) in [
        ("etc/conf", "conf", "conf/ conf/a"),
        ("/etc/conf/a", "a", "a"),
        ("link", "link", "link->/etc/conf"),
        ("link/a", "x/y", "x/y"),
        ("/etc", "", "./ conf/ conf/a"),
        ("/", "all", "all/ all/etc/ all/etc/conf/ all/etc/conf/a all/link->/etc/conf"),
        ("../..", "all", "all/ all/etc/ all/etc/conf/ all/etc/conf/a all/link->/etc/conf"),
    ] {
        let mut tar = Vec::new();
        write_subtree(root.fd(), Path::new(path), Path::new(name), None, &mut tar).unwrap();
        assert_eq!(entries(&tar), expected, "{path}");
    }
    assert!(write_subtree(root.fd().as_fd(), Path::new("absent"), Path::new("x"), None, Vec::new()).is_err());
}
