//! Tests of the comparison: each property of a file that differs is seen, and what is equal is not reported.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fixture::{Root, skipped_unless_root};

/// What it is called, what is done to the upper tree, and what must be reported.
type Case = (&'static str, fn(&Root), &'static str);

fn compare(lower: &Root, upper: &Root) -> String {
    let mut changes = Vec::new();
    compare_trees(Some(lower.fd()), upper.fd(), &mut |c| changes.push(format!("{:?} {}", c.kind, c.path.display())))
        .unwrap();
    changes.join(", ")
}

/// Two trees that are equal, in times too.
fn twins() -> (Root, Root) {
    let (lower, upper) = (Root::new(), Root::new());
    for root in [&lower, &upper] {
        root.write("d/f", "content").write("d/g", "other").symlink("d/f", "l");
        settle(root);
    }
    (lower, upper)
}

/// Gives everything the same old time.
fn settle(root: &Root) {
    let time = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 5 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    for path in ["d/f", "d/g", "l", "d", ""] {
        rustix::fs::utimensat(rustix::fs::CWD, root.path(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

#[test]
fn equal_trees_have_no_changes() {
    let (lower, upper) = twins();
    assert_eq!(compare(&lower, &upper), "");
    assert_eq!(compare(&lower, &lower), "");
}

#[test]
fn privileged_every_difference_is_seen() {
    if skipped_unless_root() {
        return;
    }
    let cases: Vec<Case> = vec![
        ("content under the same size and time", |r| _ = r.write("d/f", "CONTENT"), "Modified d/f"),
        ("size", |r| _ = r.write("d/f", "longer content"), "Modified d/f"),
        (
            "mode",
            |r| fs_err::set_permissions(r.path("d/f"), std::fs::Permissions::from_mode(0o4644)).unwrap(),
            "Modified d/f",
        ),
        ("owner", |r| fs_err::os::unix::fs::chown(r.path("d/f"), Some(1), None).unwrap(), "Modified d/f"),
        ("group", |r| fs_err::os::unix::fs::chown(r.path("d"), None, Some(1)).unwrap(), "Modified d"),
        (
            "attribute",
            |r| {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::lsetxattr(r.path("d/g"), "user.x", b"y", flags).unwrap();
            },
            "Modified d/g",
        ),
        (
            "link target",
            |r| {
                fs_err::remove_file(r.path("l")).unwrap();
                r.symlink("d/g", "l");
            },
            "Modified l",
        ),
        ("new tree", |r| _ = r.write("n/a/f", "x"), "Added n, Added n/a, Added n/a/f"),
        ("deleted tree", |r| fs_err::remove_dir_all(r.path("d")).unwrap(), "Deleted d"),
        (
            "file becomes directory",
            |r| {
                fs_err::remove_file(r.path("l")).unwrap();
                r.write("l/f", "x");
            },
            "Modified l, Added l/f",
        ),
        (
            "directory becomes file",
            |r| {
                fs_err::remove_dir_all(r.path("d")).unwrap();
                r.write("d", "x");
            },
            "Modified d",
        ),
        ("a second name", |r| fs_err::hard_link(r.path("d/f"), r.path("h")).unwrap(), "Modified d/f, Added h"),
    ];
    for (case, change, expected) in cases {
        let (lower, upper) = twins();
        change(&upper);
        for path in ["d/f", "d/g", "l", "d", ""] {
            let time = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 5 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            let _ = rustix::fs::utimensat(rustix::fs::CWD, upper.path(path), &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        assert_eq!(compare(&lower, &upper), expected, "{case}");
    }
    let (lower, upper) = twins();
    let time = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 6 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, upper.path("d/f"), &times, AtFlags::empty()).unwrap();
    assert_eq!(compare(&lower, &upper), "Modified d/f", "one nanosecond");
}

#[test]
fn names_that_stop_being_one_file_are_reported() {
    let (lower, upper) = (Root::new(), Root::new());
    for root in [&lower, &upper] {
        root.write("d/f", "content").write("d/g", "x").symlink("x", "l");
    }
    fs_err::remove_file(lower.path("d/g")).unwrap();
    fs_err::hard_link(lower.path("d/f"), lower.path("d/g")).unwrap();
    fs_err::write(upper.path("d/g"), "content").unwrap();
    settle(&lower);
    settle(&upper);
    assert_eq!(compare(&lower, &upper), "Modified d/f, Modified d/g");
}

#[test]
fn without_a_lower_tree_everything_is_new() {
    let (_, upper) = twins();
    let mut paths = Vec::new();
    compare_trees(None, upper.fd(), &mut |c| {
        assert_eq!(c.kind, ChangeKind::Added);
        paths.push(c.path.display().to_string());
    })
    .unwrap();
    assert_eq!(paths, ["d", "d/f", "d/g", "l"]);
}
