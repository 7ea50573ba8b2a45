//! The suite against the btrfs driver, linked and as a library, on a file system made for it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mica_storage_api::{Key, ObjectKind, StageArgs, StageKind};
use mica_storage_conformance::harness::Driver;
use mica_storage_conformance::scratch::{Directory, in_private_mounts, missing_for, mount_loop_btrfs};
use mica_storage_loader::{OpenArgs, Plugin};

const DRIVER: Driver = Driver { name: "btrfs", linked: mica_storage_btrfs::plugin };

#[test]
fn worker() {
    DRIVER.worker();
}

#[test]
fn privileged_conformance() {
    if let Some(reason) = missing_for(&["unshare", "mkfs.btrfs", "mount", "btrfs"]) {
        return skip(&reason);
    }
    // The directory is the outer process's: it can be removed only when the inner one and its mount are gone.
    let name = "MICA_BTRFS_SCRATCH";
    match std::env::var_os(name) {
        Some(scratch) => {
            let root = mount_loop_btrfs(Path::new(&scratch)).unwrap();
            DRIVER.must_conform(&root, &[]);
            nested_subvolumes_are_reaped(&root);
        }
        None => {
            let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
            in_private_mounts("privileged_conformance", &[(name, scratch.path().as_os_str())]).unwrap();
        }
    }
}

/// A container may make subvolumes, which hold their parent in place until they are destroyed (moby#9939).
fn nested_subvolumes_are_reaped(root: &Path) {
    let root = root.join("nested");
    let driver = Plugin::builtin(mica_storage_btrfs::plugin()).unwrap().open(&OpenArgs::new(&root)).unwrap();
    let key = Key::new("c").unwrap();
    driver.stage_begin(&StageArgs::new(StageKind::Rw, key, &[])).unwrap().commit(key).unwrap();
    fs_err::create_dir_all(root.join("rw/c/deep/er")).unwrap();
    for path in ["rw/c/one", "rw/c/deep/er/two", "rw/c/deep/er/two/three"] {
        let made = Command::new("btrfs").args(["subvolume", "create"]).arg(root.join(path)).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        fs_err::write(root.join(path).join("file"), "x").unwrap();
    }
    driver.remove(ObjectKind::Rw, key).unwrap();
    while driver.reap(Duration::from_secs(1)).unwrap() {}
    assert_eq!(fs_err::read_dir(root.join("trash")).unwrap().count(), 0);
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "skipped, which MICA_NO_SKIP forbids: {reason}");
    eprintln!("skipped: {reason}");
}
