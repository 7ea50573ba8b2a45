//! What is special about vfs; what every driver must do is in the conformance suite.

mod difference;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use mica_storage_api::{Caps, ErrorKind, Flow, Key, LogLevel, MountArgs, ObjectKind, StageArgs, StageKind};
use mica_storage_loader::{Driver, HostServices, OpenArgs, Plugin};
use rustix::fs::{CWD, Mode, OFlags};

fn open(root: &Path) -> Driver {
    Plugin::builtin(crate::plugin()).unwrap().open(&OpenArgs::new(root)).unwrap()
}

fn key(name: &str) -> Key<'_> {
    Key::new(name).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open_dir(path: &Path) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn write(dir: BorrowedFd<'_>, name: &str, content: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(file, content.as_bytes()).unwrap();
}

fn commit(driver: &Driver, kind: StageKind, id: &str, parents: &[Key<'_>], name: &str, content: &str) {
    let stage = driver.stage_begin(&StageArgs::new(kind, key(id), parents)).unwrap();
    write(stage.target(), name, content);
    stage.commit(key(id)).unwrap();
}

#[test]
fn a_layer_keeps_its_own_files_and_a_container_has_all_of_them() {
    let root = tempfile::tempdir().unwrap();
    let driver = open(root.path());
    assert!(driver.info().caps.contains(Caps::INDEPENDENT_LAYERS | Caps::PROMOTE), "{:?}", driver.info());
    commit(&driver, StageKind::Layer, "one", &[], "a", "1");
    let layers = root.path().join("layers");
    fs::hard_link(layers.join("one/a"), layers.join("one/b")).unwrap();
    commit(&driver, StageKind::Layer, "two", &[], "c", "2");
    commit(&driver, StageKind::Rw, "box", &[key("two"), key("one")], "d", "3");
    let stat = |path: &str| fs::metadata(root.path().join(path)).unwrap();
    for tree in ["layers/one", "rw/box/tree"] {
        let (a, b) = (stat(&format!("{tree}/a")), stat(&format!("{tree}/b")));
        assert_eq!((a.ino(), a.nlink()), (b.ino(), 2), "{tree}");
    }
    assert_eq!(names(&layers.join("two")), ["c"]);
    assert_eq!(names(&root.path().join("rw/box/tree")), ["a", "b", "c", "d"]);
    assert_ne!(stat("layers/one/a").ino(), stat("rw/box/tree/a").ino());
    assert_eq!(fs::read(root.path().join("rw/box/tree/c")).unwrap(), b"2");
    fs::write(root.path().join("rw/box/tree/a"), "changed").unwrap();
    assert_eq!(fs::read(layers.join("one/a")).unwrap(), b"1");
    assert_eq!(names(&root.path().join("stage")), [""; 0]);
}

#[test]
fn a_deep_image_costs_its_layers_and_each_container_one_tree() {
    let root = tempfile::tempdir().unwrap();
    let driver = open(root.path());
    let bytes = || mica_storage_api::tree::usage(open_dir(root.path()).as_fd()).unwrap().bytes;
    let names: Vec<String> = (0..30).map(|number| format!("layer-{number}")).collect();
    let mut chain: Vec<Key<'_>> = Vec::new();
    let (mut diffs, empty) = (0, bytes());
    for (number, name) in names.iter().enumerate() {
        let stage = driver.stage_begin(&StageArgs::new(StageKind::Layer, key(name), &[])).unwrap();
        let content = vec![b'x'; 40_000 + 1000 * number];
        for file in ["in-all", &format!("own-{number}"), &format!("more-{number}")] {
            let file = fs::File::create(Path::new(&format!("/proc/self/fd/{}", stage.target().as_raw_fd())).join(file));
            std::io::Write::write_all(&mut file.unwrap(), &content).unwrap();
        }
        diffs += mica_storage_api::tree::usage(stage.target()).unwrap().bytes;
        stage.commit(key(name)).unwrap();
        chain.insert(0, key(name));
    }
    let near = |bytes: u64, wanted: u64| bytes.abs_diff(wanted) * 20 <= wanted;
    let image = bytes() - empty;
    assert!(near(image, diffs), "the image takes {image} bytes, its layers {diffs}");
    for id in ["one", "two"] {
        let before = bytes();
        driver.stage_begin(&StageArgs::new(StageKind::Rw, key(id), &chain)).unwrap().commit(key(id)).unwrap();
        let tree = mica_storage_api::tree::usage(open_dir(&root.path().join("rw").join(id).join("tree")).as_fd());
        let (cost, tree) = (bytes() - before, tree.unwrap().bytes);
        assert!(near(cost, tree), "a container takes {cost} bytes, its tree {tree}");
        assert!(tree < diffs, "the file that all layers have is there once");
    }
    let before = bytes();
    let Ok(_view) = driver.mount(&MountArgs::view(&chain)) else { return };
    assert!(bytes() - before < 64 * 1024, "a view takes {} bytes", bytes() - before);
}

#[test]
fn a_root_without_parents_is_dressed_as_told() {
    let root = tempfile::tempdir().unwrap();
    let driver = open(root.path());
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let args = StageArgs {
        root_mode: 0o1777,
        root_uid: uid,
        root_gid: gid,
        ..StageArgs::new(StageKind::Layer, key("s"), &[])
    };
    driver.stage_begin(&args).unwrap().commit(key("k")).unwrap();
    let stat = fs::metadata(root.path().join("layers/k")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o1777, uid, gid));
}

#[test]
fn promotion_moves_the_tree_and_an_abort_leaves_it() {
    let root = tempfile::tempdir().unwrap();
    let driver = open(root.path());
    commit(&driver, StageKind::Rw, "box", &[], "a", "1");
    let inode = fs::metadata(root.path().join("rw/box/tree/a")).unwrap().ino();
    let args = StageArgs::new(StageKind::Promote, key("box"), &[]);
    driver.stage_begin(&args).unwrap().abort();
    assert!(root.path().join("rw/box/tree/a").exists());

    commit(&driver, StageKind::Layer, "taken", &[], "x", "");
    let lost = driver.stage_begin(&args).unwrap().commit(key("taken")).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Exists);
    assert!(root.path().join("rw/box/tree/a").exists());

    driver.stage_begin(&args).unwrap().commit(key("promoted")).unwrap();
    assert!(!root.path().join("rw/box").exists());
    assert_eq!(fs::metadata(root.path().join("layers/promoted/a")).unwrap().ino(), inode);
    assert_eq!(driver.stage_begin(&args).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_failed_begin_leaves_nothing_and_a_taken_id_is_told() {
    let root = tempfile::tempdir().unwrap();
    let driver = open(root.path());
    let missing = [key("missing")];
    let error = driver.stage_begin(&StageArgs::new(StageKind::Layer, key("s"), &missing)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(root.path().join("stage")).unwrap().count(), 0);

    let _first = driver.stage_begin(&StageArgs::new(StageKind::Layer, key("s"), &[])).unwrap();
    let error = driver.stage_begin(&StageArgs::new(StageKind::Layer, key("s"), &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
}

#[test]
fn a_cancelled_copy_leaves_nothing() {
    #[derive(Debug)]
    struct Cancel;
    impl HostServices for Cancel {
        fn log(&self, _level: LogLevel, _target: &str, _message: &str) {}
        fn progress(&self, call_id: u64, _done: u64, _total: u64) -> Flow {
            if call_id == 7 { Flow::Stop } else { Flow::Continue }
        }
    }
    let root = tempfile::tempdir().unwrap();
    let open = OpenArgs { services: Arc::new(Cancel), ..OpenArgs::new(root.path()) };
    let driver = Plugin::builtin(crate::plugin()).unwrap().open(&open).unwrap();
    let stage = driver.stage_begin(&StageArgs::new(StageKind::Layer, key("k"), &[])).unwrap();
    for number in 0..100 {
        write(stage.target(), &format!("file-{number}"), "");
    }
    stage.commit(key("k")).unwrap();
    let parents = [key("k")];
    let args = StageArgs::new(StageKind::Rw, key("s"), &parents);
    let cancelled = driver.stage_begin(&StageArgs { call_id: 7, ..args }).unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
    assert_eq!(fs::read_dir(root.path().join("stage")).unwrap().count(), 0);
    driver.stage_begin(&StageArgs { call_id: 8, ..args }).unwrap();
}

#[test]
fn dropped_stages_and_removed_objects_are_reaped() {
    let root = tempfile::tempdir().unwrap();
    let driver = open(root.path());
    commit(&driver, StageKind::Layer, "k", &[], "a", "1");
    drop(driver.stage_begin(&StageArgs::new(StageKind::Layer, key("s"), &[key("k")])).unwrap());
    driver.remove(ObjectKind::Layer, key("k")).unwrap();
    assert_eq!(fs::read_dir(root.path().join("trash")).unwrap().count(), 2);
    assert!(!driver.reap(Duration::from_secs(60)).unwrap());
    assert_eq!(fs::read_dir(root.path().join("trash")).unwrap().count(), 0);
}

#[test]
fn options_it_does_not_have_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let options = ["mountopt=nodev".to_owned()];
    let plugin = Plugin::builtin(crate::plugin()).unwrap();
    let error = plugin.open(&OpenArgs { options: &options, ..OpenArgs::new(root.path()) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let driver = open(root.path());
    let error = driver.stage_begin(&StageArgs { quota_bytes: 1, ..StageArgs::new(StageKind::Rw, key("s"), &[]) });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn privileged_mounts_are_detached_and_views_read_only() {
    let root = tempfile::tempdir().unwrap();
    let driver = open(root.path());
    if !driver.info().caps.contains(Caps::DETACHED_MOUNT) {
        return skipped("needs the right to mount");
    }
    commit(&driver, StageKind::Layer, "k", &[], "a", "1");
    commit(&driver, StageKind::Rw, "box", &[key("k")], "b", "2");
    let attached =
        || fs::read_to_string("/proc/self/mountinfo").unwrap().matches(root.path().to_str().unwrap()).count();

    let view = driver.mount(&MountArgs::view(&[key("k")])).unwrap();
    let error = create(&view).unwrap_err();
    assert_eq!(error, rustix::io::Errno::ROFS);
    assert_eq!(rustix::fs::statat(&view, "a", rustix::fs::AtFlags::empty()).unwrap().st_size, 1);

    let mount = driver.mount(&MountArgs::rw(key("box"), &[key("k")])).unwrap();
    create(&mount).unwrap();
    assert!(root.path().join("rw/box/tree/new").exists());
    assert_eq!(attached(), 0);
    // No unmount needs to come first: the directory moves away under the mount.
    driver.remove(ObjectKind::Rw, key("box")).unwrap();
}

fn create(mount: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(mount.as_fd(), "new", OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o600))
}

#[test]
fn a_stage_outlives_its_driver_value() {
    let root = tempfile::tempdir().unwrap();
    let stage = open(root.path()).stage_begin(&StageArgs::new(StageKind::Layer, key("s"), &[])).unwrap();
    stage.commit(key("k")).unwrap();
    assert!(rustix::fs::statat(CWD, root.path().join("layers/k"), rustix::fs::AtFlags::empty()).is_ok());
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
