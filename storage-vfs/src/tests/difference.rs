//! What a container changed, and the layer that becomes of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use mica_storage_api::{ChangeKind, ErrorKind, Flow, MountArgs, ObjectKind, StageArgs, StageKind};
use mica_storage_loader::Driver;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::{key, names, open, skipped};

/// A chain of one layer with a container on it.
struct Box {
    root: tempfile::TempDir,
    driver: Driver,
}

impl Box {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let driver = open(root.path());
        driver.stage_begin(&StageArgs::new(StageKind::Layer, key("base"), &[])).unwrap().commit(key("base")).unwrap();
        let base = root.path().join("layers/base");
        for dir in ["a", "b", "quiet/deep", "gone/deep"] {
            fs::create_dir_all(base.join(dir)).unwrap();
        }
        for (path, content) in [
            ("a/x", "from a"),
            ("b/x", "from b"),
            ("quiet/deep/file", "quiet"),
            ("gone/deep/file", "gone"),
            ("old", "old text"),
            ("linked-1", "linked"),
            ("untouched", "u"),
        ] {
            fs::write(base.join(path), content).unwrap();
        }
        fs::hard_link(base.join("linked-1"), base.join("linked-2")).unwrap();
        let parents = [key("base")];
        driver.stage_begin(&StageArgs::new(StageKind::Rw, key("box"), &parents)).unwrap().commit(key("box")).unwrap();
        Self { root, driver }
    }

    fn tree(&self) -> PathBuf {
        self.root.path().join("rw/box/tree")
    }

    fn changes(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let note = &mut |change: &mica_storage_api::Change<'_>| {
            let sign = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Modified => 'M',
                ChangeKind::Deleted => 'D',
                ChangeKind::Opaque => 'O',
            };
            if let Some(dir) = change.dir {
                let stat = rustix::fs::statat(dir, change.name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH);
                let whole = fs::symlink_metadata(self.tree().join(change.path)).unwrap();
                assert_eq!(stat.unwrap().st_ino, whole.ino(), "{}", change.path.display());
            }
            seen.push(format!("{sign} {}", change.path.display()));
            Flow::Continue
        };
        self.driver.changes(key("box"), &[key("base")], note).unwrap();
        seen
    }

    /// With the manifest, without it, and with one that is torn.
    fn must_change(&self, expected: &[&str]) {
        assert_eq!(self.changes(), expected);
        let manifest = self.root.path().join("rw/box/manifest");
        let bytes = fs::read(&manifest).unwrap();
        fs::write(&manifest, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(self.changes(), expected, "with a torn manifest");
        fs::remove_file(&manifest).unwrap();
        assert_eq!(self.changes(), expected, "without a manifest");
        fs::write(&manifest, bytes).unwrap();
    }
}

fn set_mtime(path: &Path, meta: &std::fs::Metadata) {
    let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::empty()).unwrap();
}

#[test]
fn nothing_changed_and_nothing_is_told() {
    Box::new().must_change(&[]);
}

#[test]
fn a_file_rewritten_under_its_old_size_and_time_is_told() {
    let it = Box::new();
    let old = fs::metadata(it.tree().join("old")).unwrap();
    fs::write(it.tree().join("old"), "new text").unwrap();
    set_mtime(&it.tree().join("old"), &old);
    it.must_change(&["M old"]);
}

#[test]
fn touched_and_put_back_is_no_change() {
    let it = Box::new();
    let old = fs::metadata(it.tree().join("old")).unwrap();
    fs::write(it.tree().join("old"), "old text").unwrap();
    set_mtime(&it.tree().join("old"), &old);
    it.must_change(&[]);
}

#[test]
fn directories_that_change_places_take_their_files_along() {
    let it = Box::new();
    let tree = it.tree();
    let a = fs::metadata(tree.join("a/x")).unwrap();
    // The same times everywhere, so that the content alone tells.
    for file in ["a/x", "b/x"] {
        set_mtime(&it.root.path().join("layers/base").join(file), &a);
        set_mtime(&tree.join(file), &a);
    }
    rustix::fs::renameat_with(CWD, tree.join("a"), CWD, tree.join("b"), rustix::fs::RenameFlags::EXCHANGE).unwrap();
    let told = it.changes();
    for wanted in ["M a/x", "M b/x"] {
        assert!(told.iter().any(|line| line == wanted), "{told:?}");
    }
}

#[test]
fn every_kind_of_change_in_order() {
    let it = Box::new();
    let tree = it.tree();
    fs::remove_dir_all(tree.join("gone")).unwrap();
    fs::write(tree.join("quiet/deep/file"), "loud").unwrap();
    fs::hard_link(tree.join("linked-1"), tree.join("linked-3")).unwrap();
    fs::create_dir(tree.join("new")).unwrap();
    fs::write(tree.join("new/file"), "n").unwrap();
    fs::remove_file(tree.join("a/x")).unwrap();
    fs::create_dir(tree.join("a/x")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    it.must_change(&[
        "M ",
        "M a",
        "M a/x",
        "D gone",
        "M linked-1",
        "M linked-2",
        "A linked-3",
        "A new",
        "A new/file",
        "M quiet/deep/file",
    ]);
}

#[test]
fn a_promoted_tree_leaves_its_difference() {
    let it = Box::new();
    let tree = it.tree();
    fs::set_permissions(tree.join("quiet"), std::fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(tree.join("quiet/deep/file"), "loud").unwrap();
    fs::remove_dir_all(tree.join("gone")).unwrap();
    let inode = fs::metadata(tree.join("quiet/deep/file")).unwrap().ino();
    let parents = [key("base")];
    let args = StageArgs::new(StageKind::Promote, key("box"), &parents);

    // A name that means a deletion cannot be told from one, so the tree stays what it is.
    fs::write(tree.join(".wh.name"), "").unwrap();
    let refused = it.driver.stage_begin(&args).unwrap().commit(key("top")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    fs::remove_file(tree.join(".wh.name")).unwrap();

    it.driver.stage_begin(&args).unwrap().commit(key("top")).unwrap();
    let top = it.root.path().join("layers/top");
    assert_eq!(names(&top), [".wh.gone", "quiet"]);
    assert_eq!(fs::metadata(top.join("quiet")).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(fs::metadata(top.join("quiet/deep/file")).unwrap().ino(), inode, "the file was copied");
    assert_eq!(
        it.driver.check(ObjectKind::Rw, key("box"), mica_storage_api::CheckLevel::Present).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    while it.driver.reap(std::time::Duration::from_secs(10)).unwrap() {}
    assert_eq!(fs::metadata(top.join("quiet/deep/file")).unwrap().nlink(), 1);
    assert_eq!(fs::read(top.join("quiet/deep/file")).unwrap(), b"loud");
}

#[test]
fn privileged_views_last_as_long_as_their_driver() {
    let it = Box::new();
    let Ok(mount) = it.driver.mount(&MountArgs::view(&[key("base")])) else {
        return skipped("needs the right to mount");
    };
    let views = it.root.path().join("views");
    assert_eq!(names(&views).len(), 1);
    drop(it.driver.mount(&MountArgs::view(&[key("base")])).unwrap());
    assert_eq!(names(&views).len(), 1, "the second view is the first");
    let other = open(it.root.path());
    other.reap(std::time::Duration::from_secs(10)).unwrap();
    assert!(rustix::fs::statat(&mount, "a/x", AtFlags::empty()).is_ok(), "another driver took the view away");
    let root = it.root;
    drop((mount, it.driver));
    other.reap(std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(names(&views), [""; 0]);
    drop(root);
}
