//! That what was applied is found sound, and every change to it is found.

use std::os::fd::AsFd;

use proptest::prelude::*;
use rustix::fs::{AtFlags, Mode, XattrFlags};

use super::Verifier;
use crate::apply::{Limits, Target, Whiteouts, apply};
use crate::diff::tests::law::{build, config, difference, node, overlay};
use crate::fixture::{Root, Tar, skipped, skipped_unless_root};
use crate::tree::Tree;

fn verify(root: &Root, tars: &[&[u8]], below: Option<&Root>, whiteouts: Whiteouts) -> Vec<String> {
    let mut verifier = Verifier::new(Target { root: root.fd(), merged: below.map(Root::fd), whiteouts });
    tars.iter().for_each(|tar| verifier.layer(*tar).unwrap());
    verifier.finish().into_iter().map(|found| format!("{} {}", found.path.display(), found.what)).collect()
}

proptest! {
    #![proptest_config(config())]

    /// A tree is sound exactly when it is the one that the layer makes of what was there before.
    #[test]
    fn privileged_a_tree_is_sound_when_it_is_equal(
        a in prop::collection::vec(node(), 0..12),
        b in prop::collection::vec(node(), 0..12),
        c in prop::collection::vec(node(), 0..3),
        shared in prop::collection::vec(node(), 0..8),
    ) {
        if skipped_unless_root() {
            return Ok(());
        }
        let second = [&shared[..], &b].concat();
        let (lower, upper) = (build(&[&shared[..], &a].concat()), build(&second));
        let tar = difference(Some(&lower), &upper);
        // Mostly almost the same, and now and then the same.
        let found = build(&[&second[..], &c].concat());
        let wrong = verify(&found, &[&tar], Some(&lower), Whiteouts::Direct);
        let unequal = upper.tree().diff(&found.tree());
        prop_assert_eq!(wrong.is_empty(), unequal.is_empty(), "{:?} for\n{}", wrong, unequal);

        // The same from nothing: two layers in one tree.
        let both = [&difference(None, &lower)[..], &tar];
        let wrong = verify(&found, &both, None, Whiteouts::Direct);
        prop_assert_eq!(wrong.is_empty(), unequal.is_empty(), "{:?} for\n{}", wrong, unequal);
    }

    /// An overlay's layer that is found sound shows what it should.
    #[test]
    fn privileged_a_sound_overlay_layer_shows_the_second_tree(
        a in prop::collection::vec(node(), 0..12),
        b in prop::collection::vec(node(), 0..12),
        c in prop::collection::vec(node(), 0..2),
        shared in prop::collection::vec(node(), 0..8),
    ) {
        if skipped_unless_root() {
            return Ok(());
        }
        let second = [&shared[..], &b].concat();
        let (lower, upper, stage) = (build(&[&shared[..], &a].concat()), build(&second), build(&[]));
        let other = build(&[&second[..], &c].concat());
        let tar = difference(Some(&lower), &other);
        let place = Target { root: stage.fd(), merged: None, whiteouts: Whiteouts::OverlayTrusted };
        apply(&tar[..], &place, &Limits::default()).unwrap();
        prop_assert_eq!(verify(&stage, &[&tar], Some(&lower), Whiteouts::OverlayTrusted), Vec::<String>::new());
        let expected = difference(Some(&lower), &upper);
        if verify(&stage, &[&expected], Some(&lower), Whiteouts::OverlayTrusted).is_empty() {
            match overlay(&stage, &lower) {
                Ok(view) => {
                    let unequal = upper.tree().diff(&Tree::read(view.as_fd()).unwrap());
                    prop_assert!(unequal.is_empty(), "{}", unequal);
                }
                Err(e) => drop(skipped(Some(&format!("no detached overlay mount: {e}")))),
            }
        }
    }
}

/// What is done to a sound tree, and how the difference begins; nothing for no difference.
type Case = (&'static str, fn(&Root), &'static str);

fn sample() -> Tar {
    Tar::new()
        .dir("dir")
        .pax("SCHILY.xattr.user.note", b"one")
        .file("dir/file", "content")
        .hard_link("dir/link", "dir/file")
        .file("alone", "text")
        .symlink("symlink", "dir/file")
        .file(".wh.gone", "")
        .dir("opaque")
        .file("opaque/.wh..wh..opq", "")
}

#[test]
fn privileged_files_that_left_their_links_do_not_confuse_those_that_did_not() {
    if skipped_unless_root() {
        return;
    }
    let first = Tar::new().file("a", "0").hard_link("b", "a").file("p", "1").hard_link("q", "p").file("r", "22");
    let first =
        first.hard_link("s", "r").hard_link("v", "r").dir("d").file("w", "7").file("d/x", "6").hard_link("y", "d/x");
    let second = Tar::new()
        .file(".wh.a", "")
        .file(".wh.d", "")
        .file("q", "3")
        .file("r", "44")
        .file("t", "5")
        .hard_link("u", "t");
    let tars = [first.finish(), second.finish()];
    type Found = (&'static str, fn(&Root), &'static [&'static str]);
    let table: [Found; 5] = [
        ("nothing", |_| {}, &[]),
        ("a name that outlived the first", |root| flip(root, "b"), &["b has other content"]),
        ("its mode", |root| chmod(root, "b", 0o600), &["b has mode 0600 instead of 0644"]),
        ("both that did", |root| flip(root, "s"), &["s has other content", "v has other content"]),
        (
            "one that is a file of its own",
            |root| {
                fs_err::rename(root.path("s"), root.path("old")).unwrap();
                fs_err::copy(root.path("old"), root.path("s")).unwrap();
                unlink(root, "old");
                touch(root, "s", 1_000_000_000);
            },
            &["v is no longer the same file as `s`"],
        ),
    ];
    for (what, damage, wanted) in table {
        let root = Root::new();
        for tar in [&first, &second] {
            root.apply(tar, Whiteouts::Direct).unwrap();
        }
        damage(&root);
        let found = verify(&root, &tars.each_ref().map(Vec::as_slice), None, Whiteouts::Direct);
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn privileged_every_damage_to_an_overlay_layer_is_found_and_named() {
    if skipped_unless_root() {
        return;
    }
    let table: &[Case] = &[
        ("nothing", |_| {}, ""),
        ("content", |root| flip(root, "dir/file"), "dir/file has other content"),
        ("length", |root| longer(root, "alone"), "alone has 5 bytes instead of 4"),
        ("mode", |root| chmod(root, "alone", 0o600), "alone has mode 0600 instead of 0644"),
        ("mode of a directory", |root| chmod(root, "dir", 0o700), "dir has mode 0700 instead of 0755"),
        ("owner", |root| chown(root, "alone", 5, 6), "alone belongs to 5:6 instead of 0:0"),
        ("owner of a link", |root| chown(root, "symlink", 5, 0), "symlink belongs to 5:0 instead of 0:0"),
        ("time", |root| touch(root, "alone", 1), "alone was modified at 1.000000000 instead of 1000000000.000000000"),
        (
            "a new attribute",
            |root| set(root, "alone", "user.more", b""),
            "alone has the extended attribute `user.more` too many",
        ),
        (
            "another attribute",
            |root| set(root, "dir/file", "user.note", b"two"),
            "dir/file has another value of the extended attribute `user.note`",
        ),
        (
            "a lost attribute",
            |root| rustix::fs::removexattr(root.path("dir/file"), "user.note").unwrap(),
            "dir/file has lost the extended attribute `user.note`",
        ),
        ("a lost file", |root| unlink(root, "alone"), "alone is missing"),
        ("a lost link", |root| unlink(root, "dir/link"), "dir/link is missing"),
        ("a lost whiteout", |root| unlink(root, "gone"), "gone has lost its deletion"),
        (
            "a file in place of a whiteout",
            |root| {
                unlink(root, "gone");
                root.write("gone", "");
            },
            "gone is there instead of its deletion",
        ),
        ("a lost directory", |root| fs_err::remove_dir_all(root.path("dir")).unwrap(), "dir is missing"),
        (
            "a lost mark",
            |root| rustix::fs::removexattr(root.path("opaque"), "trusted.overlay.opaque").unwrap(),
            "opaque no longer hides what the layers below have in it",
        ),
        (
            "a mark too many",
            |root| set(root, "dir", "trusted.overlay.opaque", b"y"),
            "dir hides what the layers below have in it",
        ),
        (
            "a redirection",
            |root| set(root, "dir", "trusted.overlay.redirect", b"/"),
            "dir is redirected to another directory",
        ),
        (
            "a file too many",
            |root| {
                root.write("dir/more", "");
                touch(root, "dir", 1_000_000_000);
            },
            "dir/more does not belong there",
        ),
        ("a whiteout too many", |root| whiteout(root, "below"), "below does not belong there"),
        ("a whiteout of nothing", |root| whiteout(root, "nothing"), ""),
        (
            "another kind",
            |root| {
                unlink(root, "alone");
                root.mkdir("alone");
            },
            "alone is a directory instead of a file",
        ),
        (
            "another target",
            |root| {
                unlink(root, "symlink");
                root.symlink("x", "symlink");
                touch(root, "symlink", 1_000_000_000);
            },
            "symlink points somewhere else",
        ),
        (
            "names that are one file no longer",
            |root| {
                unlink(root, "dir/link");
                fs_err::copy(root.path("dir/file"), root.path("dir/link")).unwrap();
                touch(root, "dir/link", 1_000_000_000);
                touch(root, "dir", 1_000_000_000);
            },
            "dir/link is no longer the same file as `dir/file`",
        ),
    ];
    for (what, damage, expected) in table {
        let (root, below) = (Root::new(), Root::new());
        below.write("gone", "").write("below", "").write("dir/below", "").write("opaque/below", "");
        let tar = sample();
        let target = Target { root: root.fd(), merged: Some(below.fd()), whiteouts: Whiteouts::OverlayTrusted };
        apply(&tar.finish()[..], &target, &Limits::default()).unwrap();
        damage(&root);
        let found = verify(&root, &[&tar.finish()], Some(&below), Whiteouts::OverlayTrusted);
        match expected {
            &"" => assert_eq!(found, Vec::<String>::new(), "{what}"),
            expected => assert!(found.iter().any(|found| found.starts_with(expected)), "{what}: {found:?}"),
        }
        assert!(found.len() <= 3, "{what}: {found:?}");
    }
}

#[test]
fn privileged_damage_to_what_a_whole_tree_inherits_is_found() {
    if skipped_unless_root() {
        return;
    }
    let table: &[Case] = &[
        ("nothing", |_| {}, ""),
        ("an inherited file", |root| flip(root, "kept/file"), "kept/file has other content"),
        ("its mode", |root| chmod(root, "kept/file", 0o600), "kept/file has mode 0600 instead of 0644"),
        ("it is lost", |root| unlink(root, "kept/file"), "kept/file is missing"),
        ("its directory is lost", |root| fs_err::remove_dir_all(root.path("kept")).unwrap(), "kept is missing"),
        (
            "what was deleted is back",
            |root| {
                root.write("gone", "");
            },
            "gone is there although its layer deletes it",
        ),
        (
            "what was hidden is back",
            |root| {
                root.write("opaque/below", "");
            },
            "opaque/below does not belong there",
        ),
        (
            "a file too many",
            |root| {
                root.write("kept/more", "");
            },
            "kept/more does not belong there",
        ),
    ];
    for (what, damage, expected) in table {
        let (root, below) = (Root::new(), Root::new());
        for root in [&root, &below] {
            root.write("gone", "").write("kept/file", "inherited").write("opaque/below", "");
            ["gone", "kept/file", "kept", "opaque", "."].iter().for_each(|path| {
                chmod(root, path, if *path == "kept/file" { 0o644 } else { 0o755 });
                touch(root, path, 7);
            });
        }
        let tar = sample();
        let target = Target { root: root.fd(), merged: None, whiteouts: Whiteouts::Direct };
        apply(&tar.finish()[..], &target, &Limits::default()).unwrap();
        damage(&root);
        let found = verify(&root, &[&tar.finish()], Some(&below), Whiteouts::Direct);
        match expected {
            &"" => assert_eq!(found, Vec::<String>::new(), "{what}"),
            expected => assert!(found.iter().any(|found| found.starts_with(expected)), "{what}: {found:?}"),
        }
    }
}

#[test]
fn privileged_content_around_holes_is_compared() {
    if skipped_unless_root() {
        return;
    }
    let entry = crate::archive::Entry { path: b"sparse".to_vec(), mode: 0o644, size: 3 << 20, ..Default::default() };
    let mut tar = Vec::new();
    let mut writer = crate::archive::Writer::new(&mut tar);
    let mut content = vec![0; 3 << 20];
    content[1 << 20..(1 << 20) + 4].copy_from_slice(b"data");
    writer.append(&entry, &mut &content[..]).unwrap();
    writer.finish().unwrap();
    let root = Root::new();
    let file = fs_err::File::create(root.path("sparse")).unwrap();
    file.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(file.file(), b"data", 1 << 20).unwrap();
    chmod(&root, "sparse", 0o644);
    touch(&root, "sparse", 0);
    assert_eq!(verify(&root, &[&tar], None, Whiteouts::Direct), Vec::<String>::new());
    std::os::unix::fs::FileExt::write_at(file.file(), b"x", 2 << 20).unwrap();
    touch(&root, "sparse", 0);
    assert_eq!(verify(&root, &[&tar], None, Whiteouts::Direct).len(), 1);
}

fn flip(root: &Root, path: &str) {
    let mut content = fs_err::read(root.path(path)).unwrap();
    content[0] ^= 1;
    let before = fs_err::metadata(root.path(path)).unwrap();
    fs_err::write(root.path(path), content).unwrap();
    touch(root, path, std::os::unix::fs::MetadataExt::mtime(&before));
}

fn longer(root: &Root, path: &str) {
    let content = fs_err::read(root.path(path)).unwrap();
    fs_err::write(root.path(path), [&content[..], b"x"].concat()).unwrap();
    touch(root, path, 1_000_000_000);
}

fn unlink(root: &Root, path: &str) {
    fs_err::remove_file(root.path(path)).unwrap();
}

fn chmod(root: &Root, path: &str, mode: u32) {
    rustix::fs::chmodat(root.fd(), path, Mode::from_raw_mode(mode), AtFlags::empty()).unwrap();
}

fn chown(root: &Root, path: &str, uid: u32, gid: u32) {
    fs_err::os::unix::fs::lchown(root.path(path), Some(uid), Some(gid)).unwrap();
}

fn set(root: &Root, path: &str, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(root.path(path), name, value, XattrFlags::empty()).unwrap();
}

fn touch(root: &Root, path: &str, tv_sec: i64) {
    let time = rustix::fs::Timespec { tv_sec, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(root.fd(), path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn whiteout(root: &Root, path: &str) {
    rustix::fs::mknodat(root.fd(), path, rustix::fs::FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}
