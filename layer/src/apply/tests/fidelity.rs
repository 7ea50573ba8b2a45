//! That everything an archive says about a file is true of it afterwards.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::apply::{Limits, Target, Whiteouts, apply};
use crate::archive::{Entry, Kind, Time, Writer};
use crate::fixture::{Root, Tar, skipped_unless_root};

#[test]
fn privileged_everything_about_a_file_is_kept() {
    if skipped_unless_root() {
        return;
    }
    // A capability as `setcap cap_net_raw+ep` writes it, with zero bytes and a newline in it.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0".to_vec();
    let time = Time { seconds: 1_234_567_890, nanoseconds: 987_654_321 };
    let base = Entry { path: b"file".to_vec(), mode: 0o644, mtime: time, ..Entry::default() };
    let long = [b"long".repeat(50), b"/".to_vec(), b"\xff\xfe name\n".repeat(20)].concat();
    let entries = [
        Entry { path: b"dir".to_vec(), kind: Kind::Directory, mode: 0o3775, uid: 1000, gid: 2000, ..base.clone() },
        Entry { path: b"dir/own".to_vec(), mode: 0o600, ..base.clone() },
        Entry { path: b"dir/other".to_vec(), mode: 0o6755, uid: 70_000, gid: 3_000_000, ..base.clone() },
        Entry { mode: 0o000, xattrs: vec![(b"security.capability".to_vec(), capability.clone())], ..base.clone() },
        Entry {
            path: b"noted".to_vec(),
            xattrs: vec![(b"user.empty".to_vec(), vec![]), (b"trusted.x".to_vec(), vec![0])],
            ..base.clone()
        },
        Entry {
            path: b"link".to_vec(),
            kind: Kind::Symlink,
            link: b"/no/where\xff".to_vec(),
            uid: 5,
            gid: 6,
            ..base.clone()
        },
        Entry { path: b"again".to_vec(), kind: Kind::HardLink, link: b"./dir/../dir/other".to_vec(), ..base.clone() },
        Entry { path: b"linked-link".to_vec(), kind: Kind::HardLink, link: b"link".to_vec(), ..base.clone() },
        Entry { path: b"null".to_vec(), kind: Kind::CharDevice, major: 1, minor: 3, mode: 0o666, ..base.clone() },
        Entry {
            path: b"disk".to_vec(),
            kind: Kind::BlockDevice,
            major: 259,
            minor: 70_000,
            mode: 0o4660,
            uid: 1,
            gid: 6,
            ..base.clone()
        },
        Entry { path: b"pipe".to_vec(), kind: Kind::Fifo, mode: 0o622, ..base.clone() },
        Entry { path: b"long".repeat(50), kind: Kind::Directory, mode: 0o555, ..base.clone() },
        Entry { path: long.clone(), ..base.clone() },
        Entry { path: b"old".to_vec(), mtime: Time { seconds: -5, nanoseconds: 250_000_000 }, ..base },
    ];
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    entries.iter().for_each(|entry| writer.append(entry, &mut std::io::empty()).unwrap());
    writer.finish().unwrap();
    let root = Root::new();
    let target = Target { root: root.fd(), merged: None, whiteouts: Whiteouts::Direct };
    let applied = apply(&tar[..], &target, &Limits::default()).unwrap();
    assert_eq!((applied.entries, applied.independent, applied.dropped_xattrs), (14, true, 0));
    for entry in entries.iter().filter(|e| e.kind != Kind::HardLink) {
        let path = root.path("").join(crate::beneath::path_of(&entry.path));
        let stat = fs_err::symlink_metadata(&path).unwrap();
        if entry.kind != Kind::Symlink {
            assert_eq!(stat.mode() & 0o7777, entry.mode, "{path:?}");
        }
        assert_eq!((stat.uid(), stat.gid()), (entry.uid, entry.gid), "{path:?}");
        assert_eq!(
            (stat.mtime(), stat.mtime_nsec()),
            (entry.mtime.seconds, i64::from(entry.mtime.nanoseconds)),
            "{path:?}"
        );
        for (name, value) in &entry.xattrs {
            let mut found = [0u8; 64];
            let name = std::str::from_utf8(name).unwrap();
            let length = rustix::fs::lgetxattr(&path, name, &mut found[..]).unwrap();
            assert_eq!(&found[..length], value, "{path:?} {name}");
        }
    }
    let stat = |name: &str| fs_err::symlink_metadata(root.path(name)).unwrap();
    assert_eq!(fs_err::read_link(root.path("link")).unwrap(), crate::beneath::path_of(b"/no/where\xff"));
    assert_eq!(stat("again").ino(), stat("dir/other").ino());
    assert_eq!(stat("linked-link").ino(), stat("link").ino());
    assert!(stat("pipe").file_type().is_fifo());
    let device = |name: &str| (rustix::fs::major(stat(name).rdev()), rustix::fs::minor(stat(name).rdev()));
    assert_eq!((device("null"), device("disk")), ((1, 3), (259, 70_000)));
}

#[test]
fn privileged_holes_stay_holes() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    let tar = Tar::new().pax("GNU.sparse.map", b"4096,3,1073741820,2").file("unsized", "abcde");
    assert!(root.apply(&tar, Whiteouts::Direct).is_err(), "a sparse file has a size");
    let sparse = Tar::new().add("sparse", b"abcde", |h| {
        h.set_entry_type(tar::EntryType::GNUSparse);
        let gnu = h.as_gnu_mut().unwrap();
        gnu.set_real_size(1 << 30);
        for (slot, (offset, length)) in gnu.sparse.iter_mut().zip([(4096u64, 3u64), ((1 << 30) - 4, 2)]) {
            slot.offset[..11].copy_from_slice(format!("{offset:011o}").as_bytes());
            slot.numbytes[..11].copy_from_slice(format!("{length:011o}").as_bytes());
        }
    });
    let applied = root.apply(&sparse, Whiteouts::Direct).unwrap();
    assert_eq!(applied.bytes, 5);
    let stat = fs_err::metadata(root.path("sparse")).unwrap();
    assert_eq!(stat.len(), 1 << 30);
    assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());
    let file = fs_err::File::open(root.path("sparse")).unwrap();
    let mut found = [1u8; 5];
    for (offset, expected) in [(4095, b"\0abc\0"), ((1 << 30) - 5, b"\0de\0\0")] {
        std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut found, offset).unwrap();
        assert_eq!(&found, expected);
    }
}

#[test]
fn privileged_directories_that_existed_take_over_what_the_layer_says() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    root.write("d/kept", "");
    rustix::fs::lsetxattr(root.path("d"), "user.old", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    let tar = Tar::new().pax("SCHILY.xattr.user.new", b"y").add("d", b"", |h| {
        h.set_entry_type(tar::EntryType::Directory);
        h.set_mode(0o1700);
        h.set_uid(9);
    });
    root.apply(&tar, Whiteouts::Direct).unwrap();
    let stat = fs_err::metadata(root.path("d")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.mtime()), (0o1700, 9, 1_000_000_000));
    let mut names = [0u8; 64];
    let length = rustix::fs::llistxattr(root.path("d"), &mut names[..]).unwrap();
    assert_eq!(&names[..length], b"user.new\0");
    assert_eq!(root.list(), "d/ d/kept");
}

#[test]
fn privileged_directories_in_passing_keep_their_time() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    root.write("d/old", "");
    let time = filetime(5, 6);
    rustix::fs::utimensat(rustix::fs::CWD, root.path("d"), &time, rustix::fs::AtFlags::empty()).unwrap();
    root.apply(&Tar::new().file("d/new", "").file("d/.wh.old", ""), Whiteouts::Direct).unwrap();
    let stat = fs_err::metadata(root.path("d")).unwrap();
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (5, 6));
    assert_eq!(root.list(), "d/ d/new");
}

#[test]
fn privileged_groups_and_access_lists_are_not_inherited() {
    if skipped_unless_root() {
        return;
    }
    let root = Root::new();
    // Default access list: user::rwx, user:1:rwx, group::rwx, mask::rwx, other::rwx.
    let acl = [
        &b"\x02\0\0\0"[..],
        b"\x01\0\x07\0\xff\xff\xff\xff",
        b"\x02\0\x07\0\x01\0\0\0",
        b"\x04\0\x07\0\xff\xff\xff\xff",
        b"\x10\0\x07\0\xff\xff\xff\xff",
        b"\x20\0\x07\0\xff\xff\xff\xff",
    ]
    .concat();
    let tar = Tar::new()
        .add("group", b"", |h| {
            h.set_entry_type(tar::EntryType::Directory);
            h.set_mode(0o2755);
            h.set_gid(77);
        })
        .file("group/f", "")
        .dir("group/d")
        .pax("SCHILY.xattr.system.posix_acl_default", &acl)
        .dir("list")
        .file("list/f", "")
        .dir("list/d")
        .file("list/d/g", "");
    let applied = root.apply(&tar, Whiteouts::Direct).unwrap();
    assert_eq!(applied.dropped_xattrs, 0);
    for (name, mode) in
        [("group/f", 0o644), ("group/d", 0o755), ("list/f", 0o644), ("list/d", 0o755), ("list/d/g", 0o644)]
    {
        let stat = fs_err::metadata(root.path(name)).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.gid()), (mode, 0), "{name}");
        let mut names = [0u8; 64];
        assert_eq!(rustix::fs::llistxattr(root.path(name), &mut names[..]), Ok(0), "{name}");
    }
}

fn filetime(seconds: i64, nanoseconds: i64) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}
