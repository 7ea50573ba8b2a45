//! Tests of copying: fidelity, merging, and staying inside both roots.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::fixture::{Root, skipped_unless_root};

fn copy(src: &Root, from: &str, dst: &Root, to: &str, options: &CopyOptions<'_>) -> Result<Copied> {
    copy_into(src.fd(), Path::new(from), dst.fd(), Path::new(to), options)
}

#[test]
fn privileged_a_tree_is_copied_with_everything() {
    if skipped_unless_root() {
        return;
    }
    let (src, dst) = (Root::new(), Root::new());
    src.write("t/d/f", "content").symlink("nowhere", "t/l").write("t/empty", "");
    fs_err::hard_link(src.path("t/d/f"), src.path("t/h")).unwrap();
    let dir = src.path("t/d");
    fs_err::os::unix::fs::chown(&dir, Some(5), Some(6)).unwrap();
    fs_err::set_permissions(&dir, std::fs::Permissions::from_mode(0o2755)).unwrap();
    fs_err::os::unix::fs::chown(src.path("t/h"), Some(7), Some(8)).unwrap();
    fs_err::set_permissions(src.path("t/h"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(
        src.path("t/h"),
        "security.capability",
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        flags,
    )
    .unwrap();
    rustix::fs::lsetxattr(&dir, "user.x", b"y", flags).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        src.path("t/null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o640),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, src.path("t/pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let sparse = fs_err::File::create(src.path("t/sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(sparse.file(), b"end", (64 << 20) - 3).unwrap();
    drop(sparse);
    let copied = copy(&src, "t", &dst, "t", &CopyOptions::default()).unwrap();
    assert_eq!(copied.entries, 9);
    let subtree = |root: &Root| {
        let dir = beneath::open_dir(root.fd(), Path::new("t")).unwrap();
        crate::tree::Tree::read(dir.as_fd()).unwrap()
    };
    assert_eq!(subtree(&src).diff(&subtree(&dst)), "");
    assert!(fs_err::metadata(dst.path("t/sparse")).unwrap().blocks() < 1000);
}

#[test]
fn privileged_owner_and_mode_can_be_given() {
    if skipped_unless_root() {
        return;
    }
    let (src, dst) = (Root::new(), Root::new());
    src.write("t/d/f", "x").symlink("f", "t/d/l");
    let options = CopyOptions { owner: Some((10, 20)), mode: Some(0o750), ..CopyOptions::default() };
    copy(&src, "t", &dst, "new/parent/t", &options).unwrap();
    for (path, mode) in [("new", 0o755), ("new/parent", 0o755), ("new/parent/t", 0o750), ("new/parent/t/d/f", 0o750)] {
        let stat = fs_err::metadata(dst.path(path)).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (mode, 10, 20), "{path}");
    }
    let link = fs_err::symlink_metadata(dst.path("new/parent/t/d/l")).unwrap();
    assert_eq!((link.uid(), link.gid()), (10, 20));

    // Through a mapping, which new directories above the copy have too.
    std::os::unix::fs::chown(src.path("t/d/f"), Some(7), Some(8)).unwrap();
    let owners = |(uid, gid): (u32, u32)| (uid + 1000, gid + 2000);
    copy(&src, "t", &dst, "mapped/t", &CopyOptions { owners: Some(&owners), ..CopyOptions::default() }).unwrap();
    for (path, owner) in [("mapped", (1000, 2000)), ("mapped/t/d", (1000, 2000)), ("mapped/t/d/f", (1007, 2008))] {
        let stat = fs_err::metadata(dst.path(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), owner, "{path}");
    }
}

#[test]
fn privileged_directories_merge_and_files_replace() {
    if skipped_unless_root() {
        return;
    }
    let (src, dst) = (Root::new(), Root::new());
    src.write("t/d/f", "new").write("t/l", "file");
    dst.write("t/d/f", "old").write("t/d/kept", "kept").symlink("/etc/passwd", "t/l");
    fs_err::set_permissions(dst.path("t"), std::fs::Permissions::from_mode(0o700)).unwrap();
    fs_err::set_permissions(src.path("t/d"), std::fs::Permissions::from_mode(0o711)).unwrap();
    copy(&src, "t", &dst, "t", &CopyOptions::default()).unwrap();
    assert_eq!(dst.list(), "t/ t/d/ t/d/f t/d/kept t/l");
    assert_eq!((dst.text("t/d/f"), dst.text("t/l")), ("new".to_owned(), "file".to_owned()));
    let mode = |path: &str| fs_err::metadata(dst.path(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("t"), mode("t/d")), (0o700, 0o711), "the top keeps its mode, what is below takes the source's");
    for (from, to) in [("t/l", "t/d"), ("t/d", "t/l")] {
        let error = copy(&src, from, &dst, to, &CopyOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{from} to {to}: {error}");
    }
    // The content of a directory straight into the root.
    copy(&src, "t", &dst, "/", &CopyOptions::default()).unwrap();
    assert_eq!(dst.text("d/f"), "new");
}

#[test]
fn privileged_neither_root_is_left() {
    if skipped_unless_root() {
        return;
    }
    let around = Root::new();
    around.write("outside/secret", "secret").mkdir("root/real").write("root/secret", "inside");
    let out = around.path("outside");
    around.symlink(out.to_str().unwrap(), "root/abs").symlink("../outside", "root/rel").symlink("/secret", "root/s");
    let root = fs_err::File::open(around.path("root")).unwrap();
    let src = Root::new();
    src.write("f", "x").write("t/secret", "x");
    let into = |from: &str, to: &str| {
        copy_into(src.fd(), Path::new(from), root.as_fd(), Path::new(to), &CopyOptions::default())
    };
    for to in ["abs/new", "rel/new", "../outside/new", "abs/../../outside/new", "abs/secret"] {
        // It fails, or lands inside the root.
        let _ = into("f", to);
    }
    let _ = into("t", "abs");
    let _ = into("t", "rel");
    assert_eq!(fs_err::read_dir(&out).unwrap().count(), 1);
    assert_eq!(around.text("outside/secret"), "secret");
    let dst = Root::new();
    let out_of = |from: &str, follow| {
        let options = CopyOptions { follow, ..CopyOptions::default() };
        copy_into(root.as_fd(), Path::new(from), dst.fd(), Path::new("got"), &options)
    };
    assert!(out_of("rel/absent", true).is_err());
    out_of("s", true).unwrap();
    assert_eq!(dst.text("got"), "inside", "an absolute link is followed inside the root");
    out_of("s", false).unwrap();
    assert_eq!(fs_err::read_link(dst.path("got")).unwrap(), Path::new("/secret"));
    let loops = Root::new();
    loops.symlink("b", "a").symlink("a", "b");
    let options = CopyOptions { follow: true, ..CopyOptions::default() };
    assert!(copy(&loops, "a", &dst, "x", &options).is_err());
}

#[test]
fn privileged_what_is_excluded_is_left_out() {
    if skipped_unless_root() {
        return;
    }
    let (src, dst) = (Root::new(), Root::new());
    src.write("a/keep", "").write("a/skip", "").write("b/f", "");
    let exclude = |path: &Path| path == Path::new("b") || path == Path::new("a/skip");
    copy(&src, "", &dst, "t", &CopyOptions { exclude: Some(&exclude), ..CopyOptions::default() }).unwrap();
    assert_eq!(dst.list(), "t/ t/a/ t/a/keep");
}
