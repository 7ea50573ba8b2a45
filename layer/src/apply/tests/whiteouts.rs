//! Deletions in every style.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::apply::Whiteouts;
use crate::fixture::{Root, Tar, skipped_unless_root};

/// A root with a lower layer already in it.
fn lower() -> Root {
    let root = Root::new();
    root.write("d/a", "a").write("d/b", "b").write("d/sub/c", "c").write("f", "f");
    root
}

#[test]
fn privileged_direct_whiteouts_delete_what_was_there_before_and_nothing_else() {
    if skipped_unless_root() {
        return;
    }
    for (case, tar, expected) in [
        ("a file", Tar::new().file(".wh.f", ""), "d/ d/a d/b d/sub/ d/sub/c"),
        ("a tree", Tar::new().file(".wh.d", ""), "f"),
        ("nothing", Tar::new().file(".wh.absent", "").file("no/.wh.dir", ""), "d/ d/a d/b d/sub/ d/sub/c f"),
        ("opaque", Tar::new().dir("d").file("d/.wh..wh..opq", "").file("d/n", ""), "d/ d/n f"),
        ("opaque, last", Tar::new().dir("d").file("d/n", "").file("d/.wh..wh..opq", ""), "d/ d/n f"),
        ("then anew", Tar::new().file(".wh.f", "").file("f", "new"), "d/ d/a d/b d/sub/ d/sub/c f"),
        ("new, then", Tar::new().file("f", "new").file(".wh.f", ""), "d/ d/a d/b d/sub/ d/sub/c f"),
        ("directory anew", Tar::new().file(".wh.d", "").dir("d").file("d/n", ""), "d/ d/n f"),
        ("directory new, then", Tar::new().dir("d").file("d/n", "").file(".wh.d", ""), "d/ d/n f"),
        ("below new directories", Tar::new().file("d/sub/n", "").file("d/.wh..wh..opq", ""), "d/ d/sub/ d/sub/n f"),
        ("aufs leftovers", Tar::new().file(".wh..wh.plnk", "").file(".wh..wh.aufs", ""), "d/ d/a d/b d/sub/ d/sub/c f"),
    ] {
        let root = lower();
        root.apply(&tar, Whiteouts::Direct).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_eq!(root.list(), expected, "{case}");
    }
}

#[test]
fn privileged_overlay_whiteouts_are_devices_and_attributes() {
    if skipped_unless_root() {
        return;
    }
    for (style, attribute) in
        [(Whiteouts::OverlayTrusted, "trusted.overlay.opaque"), (Whiteouts::OverlayUser, "user.overlay.opaque")]
    {
        let root = Root::new();
        let tar = Tar::new()
            .file(".wh.f", "")
            .dir("opaque")
            .file("opaque/.wh..wh..opq", "")
            .file(".wh.again", "")
            .file("again", "new")
            .file(".wh.dir", "")
            .dir("dir")
            .file("dir/n", "")
            .dir("late")
            .file(".wh.late", "")
            .file(".wh.implied", "")
            .file("implied/n", "");
        root.apply(&tar, style).unwrap();
        assert_eq!(root.list(), "again dir/ dir/n f implied/ implied/n late/ opaque/");
        let whiteout = fs_err::symlink_metadata(root.path("f")).unwrap();
        assert!(whiteout.file_type().is_char_device());
        assert_eq!(whiteout.rdev(), 0);
        assert_eq!(root.text("again"), "new");
        for name in ["opaque", "dir", "late", "implied"] {
            let mut value = [0u8; 8];
            let length = rustix::fs::lgetxattr(root.path(name), attribute, &mut value[..]);
            assert_eq!(length.map(|l| value[..l].to_vec()), Ok(b"y".to_vec()), "{name}");
        }
    }
}

#[test]
fn privileged_an_opaque_root_deletes_every_lower_name() {
    if skipped_unless_root() {
        return;
    }
    let (merged, root) = (lower(), Root::new());
    let tar = Tar::new().file("d/n", "").file(".wh..wh..opq", "");
    let applied = root.apply_above(&tar, Whiteouts::OverlayTrusted, Some(merged.fd())).unwrap();
    assert!(!applied.independent);
    assert_eq!(root.list(), "d/ d/n f");
    assert_eq!(fs_err::symlink_metadata(root.path("f")).unwrap().rdev(), 0);
}

#[test]
fn files_that_are_not_layers_may_have_such_names() {
    let root = Root::new();
    root.apply(&Tar::new().file(".wh.x", "text").file(".wh..wh..opq", ""), Whiteouts::OciFiles).unwrap();
    assert_eq!(root.list(), ".wh..wh..opq .wh.x");
    assert_eq!(root.text(".wh.x"), "text");
}
