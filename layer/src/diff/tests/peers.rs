//! What GNU tar and umoci make of these archives, and the other way round.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};

use crate::apply::{Limits, Target, Whiteouts, apply};
use crate::changes::compare_trees;
use crate::diff::{write_layer, write_tree};
use crate::fixture::{Root, arg, has, run, skipped, skipped_unless_root};
use crate::tree::Tree;
use crate::unpack::{Unpack, unpack};

/// A tree with everything that GNU tar can archive.
fn rich(nanoseconds: i64) -> Root {
    let root = Root::new();
    let long = "long-directory-name/".repeat(12) + &"n".repeat(120);
    root.write("etc/conf", "text").write(&long, "long").symlink(&"t".repeat(200), "link").mkdir("empty");
    fs_err::hard_link(root.path("etc/conf"), root.path("etc/same")).unwrap();
    let odd = root.path("").join(crate::beneath::path_of(b"odd \xff\xfe\nname"));
    fs_err::write(&odd, "odd").unwrap();
    fs_err::os::unix::fs::chown(root.path("etc/conf"), Some(70_000), Some(3_000_000)).unwrap();
    fs_err::set_permissions(root.path("etc/conf"), std::fs::Permissions::from_mode(0o6711)).unwrap();
    fs_err::set_permissions(root.path("empty"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let node =
        |name: &str, kind, number| rustix::fs::mknodat(root.fd(), name, kind, Mode::from_raw_mode(0o640), number);
    node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)).unwrap();
    node("disk", FileType::BlockDevice, rustix::fs::makedev(8, 70_000)).unwrap();
    node("pipe", FileType::Fifo, 0).unwrap();
    let sparse = fs_err::File::create(root.path("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(sparse.file(), b"middle", 3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(sparse.file(), b"again", 5 << 20).unwrap();
    sparse.set_len(8 << 20).unwrap();
    drop(sparse);
    let times = |seconds| {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        rustix::fs::Timestamps { last_access: time, last_modification: time }
    };
    let paths: Vec<Vec<u8>> = root.tree().paths().map(<[u8]>::to_vec).collect();
    for (seconds, path) in (1_000_000_000..).zip(paths.iter().rev()) {
        let path = if path.is_empty() { b"." } else { &path[..] };
        rustix::fs::utimensat(root.fd(), path, &times(seconds), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    root
}

fn with_attributes(root: Root) -> Root {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for (path, name, value) in [
        ("sparse", "security.capability", &capability[..]),
        ("sparse", "user.note", b"a\0b"),
        ("etc", "trusted.t", b"x"),
    ] {
        rustix::fs::lsetxattr(root.path(path), name, value, XattrFlags::empty()).unwrap();
    }
    root
}

/// Differences but those of the root, which archives may leave out.
fn differences(a: &Tree, b: &Tree) -> String {
    a.diff(b)
        .lines()
        .filter(|line| !line.starts_with("- / ") && !line.starts_with("+ / "))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A tree without its times: umoci writes whole seconds, and rounds up.
fn timeless(tree: &Tree) -> Vec<String> {
    let is_time = |word: &str| word.split_once('.').is_some_and(|(_, nanoseconds)| nanoseconds.len() == 9);
    let shown = tree.diff(&Root::new().tree());
    let lines = shown.lines().filter(|line| line.starts_with('-') && !line.starts_with("- / "));
    lines.map(|line| line.split(' ').filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ")).collect()
}

fn apply_file(root: &Root, tar: &std::path::Path) {
    let tar = fs_err::File::open(tar).unwrap();
    let target = Target { root: root.fd(), merged: None, whiteouts: Whiteouts::Direct };
    apply(tar, &target, &Limits::default()).unwrap();
}

#[test]
fn privileged_what_gnu_tar_writes_is_applied_as_it_was() {
    if skipped_unless_root() || skipped((!has("tar")).then_some("GNU tar is not installed")) {
        return;
    }
    for (format, options, nanoseconds, attributes) in [
        ("pax", &["--xattrs", "--xattrs-include=*"][..], 123_456_789, true),
        ("pax", &["-S", "--sparse-version=0.0"], 1, false),
        ("pax", &["-S", "--sparse-version=0.1"], 1, false),
        ("pax", &["-S", "--sparse-version=1.0"], 1, false),
        ("gnu", &["-S"], 0, false),
        ("gnu", &[], 0, false),
    ] {
        let source = if attributes { with_attributes(rich(nanoseconds)) } else { rich(nanoseconds) };
        let (out, target) = (Root::new(), Root::new());
        let tar = out.path("layer.tar");
        let mut args: Vec<&OsStr> = vec!["-C".as_ref()];
        let (from, format_option) = (source.path(""), format!("--format={format}"));
        args.extend([arg(&from), "-cf".as_ref(), arg(&tar), format_option.as_ref()]);
        args.extend(options.iter().map(OsStr::new));
        args.push(".".as_ref());
        run("tar", &args);
        apply_file(&target, &tar);
        assert_eq!(source.tree().diff(&target.tree()), "", "{format} {options:?}");
    }
}

#[test]
fn privileged_gnu_tar_extracts_what_is_written() {
    if skipped_unless_root() || skipped((!has("tar")).then_some("GNU tar is not installed")) {
        return;
    }
    let source = with_attributes(rich(123_456_789));
    let (out, target) = (Root::new(), Root::new());
    let (tar, to) = (out.path("tree.tar"), target.path(""));
    write_tree(source.fd(), None, fs_err::File::create(&tar).unwrap()).unwrap();
    let options = ["-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C"].map(OsStr::new);
    run("tar", &[&options[..], &[arg(&to), "-f".as_ref(), arg(&tar)]].concat());
    assert_eq!(differences(&source.tree(), &target.tree()), "");
}

#[test]
fn privileged_umoci_unpacks_and_repacks_the_same_layers() {
    if skipped_unless_root() || skipped((!has("umoci")).then_some("umoci is not installed")) {
        return;
    }
    let (work, source) = (Root::new(), with_attributes(rich(123_456_789)));
    let (layout, bundle) = (work.path("oci"), work.path("bundle"));
    let image = format!("{}:test", layout.display());
    let image: &OsStr = image.as_ref();
    let tar = work.path("layer.tar");
    let mut changes = Vec::new();
    compare_trees(None, source.fd(), &mut |change| changes.push(change)).unwrap();
    write_layer(&changes, source.fd(), fs_err::File::create(&tar).unwrap()).unwrap();
    run("umoci", &["init".as_ref(), "--layout".as_ref(), arg(&layout)]);
    run("umoci", &["new".as_ref(), "--image".as_ref(), image]);
    run("umoci", &["raw".as_ref(), "add-layer".as_ref(), "--image".as_ref(), image, arg(&tar)]);
    run("umoci", &["unpack".as_ref(), "--image".as_ref(), image, arg(&bundle)]);
    let rootfs = |path: &std::path::Path| {
        let dir = fs_err::File::open(path.join("rootfs")).unwrap();
        Tree::read(std::os::fd::AsFd::as_fd(&dir)).unwrap()
    };
    assert_eq!(differences(&source.tree(), &rootfs(&bundle)), "");

    // The other way: umoci writes a layer with changes, deletions and a new directory, and it is applied here.
    let changed = bundle.join("rootfs");
    fs_err::remove_file(changed.join("etc/same")).unwrap();
    fs_err::remove_dir(changed.join("empty")).unwrap();
    fs_err::create_dir(changed.join("new")).unwrap();
    fs_err::write(changed.join("new/file"), "new").unwrap();
    let before: Vec<_> = blobs(&layout);
    run("umoci", &["repack".as_ref(), "--image".as_ref(), image, arg(&bundle)]);
    let layers = blobs(&layout).into_iter().filter(|blob| !before.contains(blob));
    let layer =
        layers.max_by_key(|blob| fs_err::metadata(blob).map(|m| u64::from(is_gzip(blob)) * m.len()).unwrap_or(0));
    let mut file = fs_err::File::open(layer.unwrap()).unwrap();
    let target = Target { root: source.fd(), merged: None, whiteouts: Whiteouts::Direct };
    unpack(Unpack { target: Some(target), ..Unpack::new(&mut file) }).unwrap();
    assert_eq!(timeless(&rootfs(&bundle)), timeless(&source.tree()));
    assert_eq!(source.text("new/file"), "new");
}

fn blobs(layout: &std::path::Path) -> Vec<std::path::PathBuf> {
    fs_err::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn is_gzip(path: &std::path::Path) -> bool {
    fs_err::read(path).is_ok_and(|bytes| bytes.starts_with(&[0x1f, 0x8b]))
}
