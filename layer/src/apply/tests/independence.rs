//! What a layer presupposes of the ones below, where it is taken from, and that it is told.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::apply::Whiteouts;
use crate::error::Error;
use crate::fixture::{Root, Tar, skipped_unless_root};

#[test]
fn privileged_a_layer_says_whether_it_stands_alone() {
    if skipped_unless_root() {
        return;
    }
    for (case, tar, expected) in [
        ("empty", Tar::new(), true),
        ("root files", Tar::new().file("f", ""), true),
        ("parents first", Tar::new().dir("a").dir("a/b").file("a/b/f", ""), true),
        ("parents later", Tar::new().file("a/f", "").dir("a"), true),
        ("no parents", Tar::new().file("a/f", ""), false),
        ("one parent missing", Tar::new().dir("a").file("a/b/f", ""), false),
        ("whiteout without parent", Tar::new().file("a/.wh.f", ""), false),
        ("hard link inside", Tar::new().file("f", "").hard_link("h", "f"), true),
    ] {
        let root = Root::new();
        let applied = root.apply(&tar, Whiteouts::OverlayTrusted).unwrap();
        assert_eq!(applied.independent, expected, "{case}");
    }
    let root = Root::new();
    root.write("f", "lower");
    let applied = root.apply(&Tar::new().hard_link("h", "f"), Whiteouts::Direct).unwrap();
    assert!(!applied.independent, "the link's target is of another layer");
    assert_eq!(root.text("h"), "lower");
}

#[test]
fn privileged_missing_parents_are_made_like_those_below() {
    if skipped_unless_root() {
        return;
    }
    let (merged, root) = (Root::new(), Root::new());
    merged.mkdir("a/b");
    fs_err::set_permissions(merged.path("a"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    fs_err::os::unix::fs::chown(merged.path("a/b"), Some(7), Some(8)).unwrap();
    rustix::fs::lsetxattr(merged.path("a/b"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    let tar = Tar::new().file("a/b/f", "").file("new/g", "");
    let applied = root.apply_above(&tar, Whiteouts::OverlayTrusted, Some(merged.fd())).unwrap();
    assert!(!applied.independent);
    let stat = |root: &Root, path: &str| {
        let stat = fs_err::metadata(root.path(path)).unwrap();
        (stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec())
    };
    for path in ["a", "a/b"] {
        assert_eq!(stat(&root, path), stat(&merged, path), "{path}");
    }
    let mut value = [0u8; 8];
    let length = rustix::fs::lgetxattr(root.path("a/b"), "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"kept");
    let new = stat(&root, "new");
    assert_eq!((new.0 & 0o7777, new.1, new.2), (0o755, 0, 0));
}

#[test]
fn privileged_parents_that_are_symlinks_below_are_followed() {
    if skipped_unless_root() {
        return;
    }
    // A layer built before /lib moved writes lib/f; overlay would hide the link behind a directory.
    for target in ["usr/lib", "/usr/lib", "../usr/lib"] {
        let (merged, root) = (Root::new(), Root::new());
        merged.mkdir("usr/lib").symlink(target, "lib");
        root.apply_above(&Tar::new().file("lib/f", ""), Whiteouts::OverlayTrusted, Some(merged.fd())).unwrap();
        assert_eq!(root.list(), "usr/ usr/lib/ usr/lib/f", "{target}");
    }
}

#[test]
fn privileged_hard_links_to_lower_files_bring_them_up() {
    if skipped_unless_root() {
        return;
    }
    let (merged, root) = (Root::new(), Root::new());
    merged.write("d/f", "lower");
    fs_err::set_permissions(merged.path("d/f"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    fs_err::os::unix::fs::chown(merged.path("d/f"), Some(7), Some(8)).unwrap();
    fs_err::set_permissions(merged.path("d/f"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    let tar = Tar::new().hard_link("h", "d/f");
    let error = Root::new().apply(&tar, Whiteouts::OverlayTrusted).unwrap_err();
    assert!(matches!(&error, Error::LinkTarget { target, .. } if target.to_str() == Some("d/f")), "{error}");
    let applied = root.apply_above(&tar, Whiteouts::OverlayTrusted, Some(merged.fd())).unwrap();
    assert!(!applied.independent);
    assert_eq!(root.list(), "d/ d/f h");
    let (link, file) = (fs_err::metadata(root.path("h")).unwrap(), fs_err::metadata(merged.path("d/f")).unwrap());
    assert_eq!(
        (link.mode(), link.uid(), link.gid(), link.mtime()),
        (file.mode(), file.uid(), file.gid(), file.mtime())
    );
    assert_eq!(link.ino(), fs_err::metadata(root.path("d/f")).unwrap().ino());
    assert_eq!(root.text("h"), "lower");
}
