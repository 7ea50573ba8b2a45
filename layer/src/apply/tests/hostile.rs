//! Archives that try to leave their root, or to say what no layer may say (security.md §2a; the CVEs are named there).

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use crate::apply::{Limits, Target, Whiteouts, apply};
use crate::error::{Error, ErrorKind};
use crate::fixture::{Root, Tar, skipped_unless_root};

const STYLES: [Whiteouts; 3] = [Whiteouts::Direct, Whiteouts::OverlayTrusted, Whiteouts::OciFiles];

/// What must come of an archive, beyond that nothing outside its root is touched.
enum Outcome {
    Refused,
    /// The paths below the root, in one line.
    Lands(&'static str),
    /// Either: only that it does no harm.
    Harmless,
}

/// What it is called, the archive (given the path outside), and what must come of it.
type Case = (&'static str, fn(&str) -> Tar, Outcome);

use Outcome::{Harmless, Lands, Refused};

#[test]
fn privileged_nothing_outside_the_root_is_touched() {
    if skipped_unless_root() {
        return;
    }
    let cases: Vec<Case> = vec![
        ("dotdot", |_| Tar::new().file("../evil", "x"), Refused),
        ("deep dotdot", |_| Tar::new().file("a/../../evil", "x"), Refused),
        ("dotdot that stays inside", |_| Tar::new().dir("a").file("a/../f", "x"), Lands("a/ f")),
        ("absolute", |_| Tar::new().dir("/etc").file("/etc/f", "x"), Lands("etc/ etc/f")),
        ("file through absolute symlink", |out| Tar::new().symlink("l", out).file("l/f", "x"), Harmless),
        ("file through relative symlink", |_| Tar::new().symlink("l", "../outside").file("l/f", "x"), Harmless),
        (
            "file through a chain of symlinks",
            |_| Tar::new().symlink("a", "b").symlink("b", "..").symlink("c", "a/outside").file("c/f", "x"),
            Harmless,
        ),
        ("symlink loop", |_| Tar::new().symlink("a", "b").symlink("b", "a").file("a/f", "x"), Refused),
        (
            "symlink inside the root is followed",
            |_| Tar::new().dir("usr").dir("usr/lib").symlink("lib", "/usr/lib").file("lib/f", "x"),
            Lands("lib usr/ usr/lib/ usr/lib/f"),
        ),
        (
            "file written through a symlink of its name",
            |out| Tar::new().symlink("secret", &format!("{out}/secret")).file("secret", "x"),
            Lands("secret"),
        ),
        (
            "directory replaced by a symlink, then a file in it",
            |out| Tar::new().dir("d").file("d/a", "x").symlink("d", out).file("d/f", "x"),
            Harmless,
        ),
        (
            "directory entry over a symlink",
            |out| {
                Tar::new().symlink("l", out).add("l", b"", |h| {
                    h.set_entry_type(tar::EntryType::Directory);
                    h.set_mode(0o777);
                })
            },
            Lands("l/"),
        ),
        ("hard link to an absolute path", |out| Tar::new().hard_link("h", &format!("{out}/secret")), Refused),
        ("hard link through dotdot", |_| Tar::new().hard_link("h", "../outside/secret"), Refused),
        (
            "hard link through a symlink",
            |out| Tar::new().symlink("l", out).hard_link("h", "l/secret").file("h", "x"),
            Refused,
        ),
        (
            "hard link to a symlink, then written",
            |out| Tar::new().symlink("l", &format!("{out}/secret")).hard_link("h", "l").file("h", "x"),
            Lands("h l"),
        ),
        ("hard link to a directory", |_| Tar::new().dir("d").hard_link("h", "d"), Refused),
        ("hard link to the root", |_| Tar::new().hard_link("h", "/"), Refused),
        ("hard link to itself", |_| Tar::new().file("h", "x").hard_link("h", "h"), Lands("h")),
        (
            "hard link that replaces its target's directory",
            |_| Tar::new().dir("d").file("d/f", "x").hard_link("d", "d/f"),
            Refused,
        ),
        ("hard link to nothing", |_| Tar::new().hard_link("h", "absent"), Refused),
        ("root that is a symlink", |out| Tar::new().symlink("./", out), Refused),
        ("root that is a file", |_| Tar::new().file(".", "x"), Refused),
        ("empty name", |_| Tar::new().file("", "x"), Refused),
        ("file below a file", |_| Tar::new().file("a", "x").file("a/b", "y"), Lands("a/ a/b")),
        ("name with a zero byte", |_| Tar::new().pax("path", b"a\0b").file("x", ""), Refused),
        ("component of 300 bytes", |_| Tar::new().pax("path", &[b'n'; 300]).file("x", ""), Refused),
        ("whiteout through a symlink", |out| Tar::new().symlink("l", out).file("l/.wh.secret", ""), Harmless),
        ("opaque through a symlink", |out| Tar::new().symlink("l", out).file("l/.wh..wh..opq", ""), Harmless),
        ("whiteout after dotdot", |_| Tar::new().file("../.wh.outside", ""), Refused),
        (
            "link that is replaced by another under an open directory",
            |out| Tar::new().dir("d").symlink("l", "d").file("l/a", "x").symlink("l", out).file("l/b", "x"),
            Harmless,
        ),
    ];
    for style in STYLES {
        for (case, build, outcome) in &cases {
            let around = Root::new();
            around.write("outside/secret", "secret").mkdir("root");
            let out = around.path("outside");
            let before = tree_of(&around, "outside");
            let root = fs_err::File::open(around.path("root")).unwrap();
            let root = std::os::fd::OwnedFd::from(root.into_parts().0);
            let tar = build(out.to_str().unwrap());
            let target = Target { root: std::os::fd::AsFd::as_fd(&root), merged: None, whiteouts: style };
            let result = apply(&tar.finish()[..], &target, &Limits::default());
            let after = tree_of(&around, "outside");
            assert_eq!(before.diff(&after), "", "{case} ({style:?}) touched the outside");
            assert_eq!(fs_err::metadata(out.join("secret")).unwrap().nlink(), 1, "{case} ({style:?})");
            assert!(!around.path("evil").exists(), "{case} ({style:?})");
            match outcome {
                Refused => assert!(result.is_err(), "{case} ({style:?}) was accepted: {result:?}"),
                Lands(expected) => {
                    result.unwrap_or_else(|e| panic!("{case} ({style:?}): {e}"));
                    assert_eq!(list(&around, "root"), *expected, "{case} ({style:?})");
                }
                Harmless => {}
            }
        }
    }
}

#[test]
fn privileged_symlinks_of_lower_layers_are_no_way_out() {
    if skipped_unless_root() {
        return;
    }
    let around = Root::new();
    around.write("outside/secret", "secret").mkdir("root");
    around.symlink(around.path("outside").to_str().unwrap(), "root/abs").symlink("../outside", "root/rel");
    let before = tree_of(&around, "outside");
    let root = fs_err::File::open(around.path("root")).unwrap();
    let tar = Tar::new().file("abs/f", "x").file("rel/f", "x").file("abs/.wh.secret", "").file("rel/.wh..wh..opq", "");
    let target = Target { root: std::os::fd::AsFd::as_fd(&root), merged: None, whiteouts: Whiteouts::Direct };
    // In the root, `../outside` is `/outside`, which is made there.
    apply(&tar.finish()[..], &target, &Limits::default()).unwrap();
    assert_eq!(before.diff(&tree_of(&around, "outside")), "");
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh...", ".wh.d/f"] {
        for style in [Whiteouts::Direct, Whiteouts::OverlayTrusted] {
            let root = Root::new();
            root.write("d/kept", "x");
            let error = root.apply(&Tar::new().file(name, ""), style).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{name}: {error}");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(root.text("d/kept"), "x");
        }
    }
}

#[test]
fn privileged_overlay_marks_in_an_archive_have_no_effect() {
    if skipped_unless_root() {
        return;
    }
    let tar = Tar::new()
        .char_device("forged", 0, 0)
        .pax("SCHILY.xattr.trusted.overlay.opaque", b"y")
        .dir("d")
        .pax("SCHILY.xattr.user.overlay.redirect", b"/etc")
        .file("f", "x")
        .pax("SCHILY.xattr.trusted.overlay.metacopy", b"")
        .file("g", "x");
    for style in STYLES {
        let root = Root::new();
        root.apply(&tar, style).unwrap();
        assert_eq!(root.list(), "d/ f g");
        for name in ["d", "f", "g"] {
            let mut names = [0u8; 256];
            let length = rustix::fs::llistxattr(root.path(name), &mut names[..]).unwrap();
            assert_eq!(length, 0, "{name} has {}", names[..length].escape_ascii());
        }
    }
}

#[test]
fn privileged_the_last_of_several_entries_wins() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    let tar = Tar::new()
        .file("a", "first")
        .symlink("a", "elsewhere")
        .file("a", "last")
        .dir("d")
        .file("d/x", "")
        .file("d", "file")
        .file("e", "file")
        .dir("e")
        .file("e/y", "")
        .char_device("f", 1, 3)
        .file("f", "no device");
    root.apply(&tar, Whiteouts::Direct).unwrap();
    assert_eq!(root.list(), "a d e/ e/y f");
    assert_eq!((root.text("a"), root.text("d"), root.text("f")), ("last".into(), "file".into(), "no device".into()));
    assert!(!fs_err::symlink_metadata(root.path("f")).unwrap().file_type().is_char_device());
}

#[test]
fn privileged_a_link_that_is_replaced_leads_to_its_new_target() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    let tar = Tar::new()
        .dir("d")
        .dir("e")
        .symlink("l", "d")
        .file("l/a", "")
        .symlink("l", "e")
        .file("l/b", "")
        .symlink("f", "d/sub")
        .dir("d/sub")
        .file("f/c", "")
        .file("d/sub", "no directory any more")
        .dir("d/sub")
        .file("f/g", "");
    root.apply(&tar, Whiteouts::Direct).unwrap();
    assert_eq!(root.list(), "d/ d/a d/sub/ d/sub/g e/ e/b f l");
}

#[test]
fn privileged_attributes_that_are_none_are_refused_or_left_out() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    let applied = root.apply(&Tar::new().pax("SCHILY.xattr.nonsense", b"x").file("f", ""), Whiteouts::Direct);
    assert_eq!(applied.unwrap().dropped_xattrs, 1);
    let huge = Tar::new().pax("SCHILY.xattr.user.huge", &vec![b'x'; 200_000]).file("g", "");
    let error = root.apply(&huge, Whiteouts::Direct).unwrap_err();
    assert!(matches!(error, Error::Xattr { .. }), "{error}");
}

#[test]
fn limits_are_kept() {
    let tar = Tar::new().file("a", "12345").file("b", "67890").finish();
    for (limits, allowed) in [
        (Limits { max_bytes: 10, max_entries: 2 }, true),
        (Limits { max_bytes: 9, ..Limits::default() }, false),
        (Limits { max_entries: 1, ..Limits::default() }, false),
    ] {
        let root = Root::new();
        let target = Target { root: root.fd(), merged: None, whiteouts: Whiteouts::Direct };
        assert_eq!(apply(&tar[..], &target, &limits).is_ok(), allowed, "{limits:?}");
    }
}

#[test]
fn messages_show_no_control_characters() {
    let root = Root::new();
    let error =
        root.apply(&Tar::new().hard_link("\u{1b}[31mred", "\u{1b}]0;title\u{7}"), Whiteouts::Direct).unwrap_err();
    assert!(!error.to_string().contains(|c: char| c.is_control()), "{error:?}");
}

#[test]
fn privileged_a_directory_the_layer_passes_through_keeps_its_mode() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    root.mkdir("d");
    fs_err::set_permissions(root.path("d"), std::fs::Permissions::from_mode(0o2750)).unwrap();
    root.apply(&Tar::new().file("d/f", ""), Whiteouts::Direct).unwrap();
    assert_eq!(fs_err::metadata(root.path("d")).unwrap().mode() & 0o7777, 0o2750);
}

fn tree_of(root: &Root, below: &str) -> crate::tree::Tree {
    let dir = fs_err::File::open(root.path(below)).unwrap();
    crate::tree::Tree::read(std::os::fd::AsFd::as_fd(&dir)).unwrap()
}

fn list(root: &Root, below: &str) -> String {
    let prefix = format!("{below}/");
    let all = root.list();
    let mut paths: Vec<&str> =
        all.split(' ').filter_map(|p| p.strip_prefix(&prefix)).filter(|p| !p.is_empty()).collect();
    paths.sort_unstable();
    paths.join(" ")
}
