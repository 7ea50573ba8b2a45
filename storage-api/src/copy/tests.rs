//! Copies on the file system of the temporary directory; what needs root says so.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use rustix::fs::{CWD, Gid, Timespec, Timestamps, Uid, XattrFlags};

use super::*;

fn dir(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn copied(fill: impl FnOnce(&Path)) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fill(&from);
    copy_tree(dir(&from).as_fd(), dir(&to).as_fd(), &mut |_| Flow::Continue).unwrap();
    root
}

fn chmod(path: &Path, bits: u32) {
    rustix::fs::chmod(path, Mode::from_raw_mode(bits)).unwrap();
}

fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn bytes_modes_times_links_and_xattrs() {
    let root = copied(|from| {
        fs::create_dir_all(from.join("d/e")).unwrap();
        fs::write(from.join("d/e/suid"), "code").unwrap();
        chmod(&from.join("d/e/suid"), 0o4755);
        fs::write(from.join("empty"), "").unwrap();
        chmod(&from.join("empty"), 0o000);
        fs::write(from.join("a"), "shared").unwrap();
        fs::hard_link(from.join("a"), from.join("d/b")).unwrap();
        fs::hard_link(from.join("a"), from.join("d/e/c")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at all", from.join("d/link")).unwrap();
        rustix::fs::mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
        chmod(&from.join("fifo"), 0o662);
        rustix::fs::setxattr(from.join("a"), "user.note", b"v\0x", XattrFlags::empty()).unwrap();
        rustix::fs::setxattr(from.join("d"), "user.dir", b"", XattrFlags::empty()).unwrap();
        rustix::fs::setxattr(from.join("d/e"), "user.long", &[7; 2000], XattrFlags::empty()).unwrap();
        set_times(&from.join("a"), 1, 123_456_789);
        set_times(&from.join("d/link"), 5, 7);
        set_times(&from.join("d/e"), 1_000_000_000, 999_999_999);
        chmod(&from.join("d/e"), 0o2751);
        chmod(from, 0o1711);
        set_times(from, -3, 42);
    });
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    for name in ["", "d", "d/e", "d/e/suid", "empty", "a", "d/b", "d/link", "fifo"] {
        let (a, b) = (fs::symlink_metadata(from.join(name)).unwrap(), fs::symlink_metadata(to.join(name)).unwrap());
        let facts = |m: &std::fs::Metadata| {
            (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec(), m.nlink(), m.is_file().then_some(m.size()))
        };
        assert_eq!(facts(&a), facts(&b), "{name}");
    }
    let inode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().ino();
    assert_eq!([inode("a"), inode("a")], [inode("d/b"), inode("d/e/c")]);
    assert_ne!(
        inode("a"),
        fs::symlink_metadata(from.join("a")).unwrap().ino(),
        "the copy shares an inode with its source"
    );
    assert_eq!(fs::read(to.join("d/e/c")).unwrap(), b"shared");
    assert_eq!(fs::read_link(to.join("d/link")).unwrap(), Path::new("/nowhere/at all"));
    let mut value = [0; 2048];
    assert_eq!(rustix::fs::getxattr(to.join("d/e"), "user.long", &mut value[..]).unwrap(), 2000);
    assert_eq!(value[..2000], [7; 2000]);
    assert_eq!(rustix::fs::getxattr(to.join("a"), "user.note", &mut value[..]).unwrap(), 3);
    assert_eq!(&value[..3], b"v\0x");
    assert_eq!(rustix::fs::getxattr(to.join("d"), "user.dir", &mut value[..]).unwrap(), 0);
}

#[test]
fn privileged_owners_devices_and_capabilities() {
    if !rustix::process::geteuid().is_root() {
        return skipped("needs root to make devices and give files away");
    }
    // A v2 capability set: magic and effective bit, then two pairs of permitted and inheritable.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let root = copied(|from| {
        for (name, kind, device) in [
            ("null", FileType::CharacterDevice, (1, 3)),
            ("whiteout", FileType::CharacterDevice, (0, 0)),
            ("disk", FileType::BlockDevice, (7, 300)),
        ] {
            rustix::fs::mknodat(
                CWD,
                from.join(name),
                kind,
                Mode::from_raw_mode(0o600),
                rustix::fs::makedev(device.0, device.1),
            )
            .unwrap();
        }
        fs::write(from.join("ping"), "code").unwrap();
        rustix::fs::chown(from.join("ping"), Some(Uid::from_raw(1234)), Some(Gid::from_raw(4_000_000_000))).unwrap();
        chmod(&from.join("ping"), 0o6755);
        rustix::fs::setxattr(from.join("ping"), "security.capability", &capability, XattrFlags::empty()).unwrap();
        std::os::unix::fs::symlink("x", from.join("link")).unwrap();
        rustix::fs::chownat(
            CWD,
            from.join("link"),
            Some(Uid::from_raw(5)),
            Some(Gid::from_raw(6)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
        rustix::fs::lsetxattr(from.join("link"), "trusted.mark", b"t", XattrFlags::empty()).unwrap();
    });
    let stat = |name: &str| fs::symlink_metadata(root.path().join("to").join(name)).unwrap();
    for (name, device) in [("null", (1, 3)), ("whiteout", (0, 0)), ("disk", (7, 300))] {
        assert_eq!(stat(name).rdev(), rustix::fs::makedev(device.0, device.1), "{name}");
    }
    let ping = stat("ping");
    assert_eq!((ping.uid(), ping.gid(), ping.mode() & 0o7777), (1234, 4_000_000_000, 0o6755));
    assert_eq!((stat("link").uid(), stat("link").gid()), (5, 6));
    let mut value = [0; 32];
    let length = rustix::fs::getxattr(root.path().join("to/ping"), "security.capability", &mut value[..]).unwrap();
    assert_eq!(value[..length], capability);
    assert_eq!(rustix::fs::lgetxattr(root.path().join("to/link"), "trusted.mark", &mut value[..]).unwrap(), 1);
}

#[test]
fn holes_stay_holes() {
    let root = copied(|from| {
        let file = fs::File::create(from.join("sparse")).unwrap();
        rustix::io::pwrite(&file, b"start", 0).unwrap();
        rustix::io::pwrite(&file, b"middle", 64 << 20).unwrap();
        file.set_len(200 << 20).unwrap();
    });
    let (from, to) = (root.path().join("from/sparse"), root.path().join("to/sparse"));
    let (a, b) = (fs::metadata(&from).unwrap(), fs::metadata(&to).unwrap());
    assert_eq!(b.size(), 200 << 20);
    assert!(b.blocks() <= a.blocks() + 16, "{} blocks became {}", a.blocks(), b.blocks());
    let file = fs::File::open(&to).unwrap();
    let mut bytes = [0; 6];
    rustix::io::pread(&file, &mut bytes, 64 << 20).unwrap();
    assert_eq!(&bytes, b"middle");
}

#[test]
fn every_way_of_moving_bytes_gives_the_same() {
    let root = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..700_001_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(root.path().join("from"), &content).unwrap();
    for (name, mut data) in [("kernel", Data::default()), ("buffer", Data::buffered())] {
        let from = fs::File::open(root.path().join("from")).unwrap();
        let to = fs::File::create(root.path().join(name)).unwrap();
        let stat = rustix::fs::fstat(&from).unwrap();
        data.copy(from.as_fd(), to.as_fd(), &stat).unwrap();
        assert!(fs::read(root.path().join(name)).unwrap() == content, "{name}");
    }
}

#[test]
fn a_tree_deeper_than_any_path() {
    let levels = 1200;
    let root = copied(|from| {
        let mut at = dir(from);
        for level in 0..levels {
            let name = CString::new(format!("level-{level}")).unwrap();
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = tree::open(at.as_fd(), &name).unwrap();
        }
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let file = rustix::fs::openat(&at, "bottom", flags, Mode::RUSR).unwrap();
        rustix::io::write(file, b"deep").unwrap();
        rustix::fs::linkat(&at, "bottom", &at, "again", AtFlags::empty()).unwrap();
    });
    let mut at = dir(&root.path().join("to"));
    for level in 0..levels {
        at = tree::open(at.as_fd(), &CString::new(format!("level-{level}")).unwrap()).unwrap();
    }
    let stat = rustix::fs::statat(&at, "bottom", AtFlags::empty()).unwrap();
    assert_eq!((stat.st_size, stat.st_nlink), (4, 2));
    tree::remove(dir(root.path()).as_fd(), c"from", None).unwrap();
    tree::remove(dir(root.path()).as_fd(), c"to", None).unwrap();
}

#[test]
fn a_copy_can_be_stopped_and_names_what_failed() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir_all(from.join("sub")).unwrap();
    fs::create_dir(&to).unwrap();
    for number in 0..200 {
        fs::write(from.join(format!("sub/{number}")), "").unwrap();
    }
    let stopped = copy_tree(dir(&from).as_fd(), dir(&to).as_fd(), &mut |done| {
        if done < 100 { Flow::Continue } else { Flow::Stop }
    });
    assert_eq!(stopped.unwrap_err().kind, ErrorKind::Cancelled);
    assert!(fs::read_dir(to.join("sub")).unwrap().count() < 200);
    let error = copy_tree(dir(&from).as_fd(), dir(&to).as_fd(), &mut |_| Flow::Continue).unwrap_err();
    assert_eq!((error.kind, error.to_string().as_str()), (ErrorKind::Exists, "copy `/sub`: File exists"));
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
