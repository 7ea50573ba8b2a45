//! The suite against the btrfs driver, linked and as a library, on a file system made for it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mica_storage_api::{Key, ObjectKind, StageArgs, StageKind};
use mica_storage_conformance::harness::Driver;
use mica_storage_conformance::scratch::{Directory, in_private_mounts, missing_for, mount_loop_btrfs};
use mica_storage_loader::{Driver as Opened, OpenArgs, Plugin};

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
            layers_are_read_only(&root);
            // Quotas last: a file system keeps them on.
            let limited = root.join("limited");
            fs_err::create_dir(&limited).unwrap();
            DRIVER.must_conform(&limited, &["quota=simple"]);
            limits_hold_nested_subvolumes_and_leave_no_group(&root);
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

/// Not even root changes a layer by accident, be it unpacked or promoted.
fn layers_are_read_only(root: &Path) {
    let root = root.join("frozen");
    let driver = Plugin::builtin(mica_storage_btrfs::plugin()).unwrap().open(&OpenArgs::new(&root)).unwrap();
    let [unpacked, promoted] = ["unpacked", "promoted"].map(|name| Key::new(name).unwrap());
    driver.stage_begin(&StageArgs::new(StageKind::Layer, unpacked, &[])).unwrap().commit(unpacked).unwrap();
    driver.stage_begin(&StageArgs::new(StageKind::Rw, promoted, &[])).unwrap().commit(promoted).unwrap();
    driver.stage_begin(&StageArgs::new(StageKind::Promote, promoted, &[])).unwrap().commit(promoted).unwrap();
    for name in ["unpacked", "promoted"] {
        let error = fs_err::write(root.join("layers").join(name).join("file"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{name}: {error}");
    }
}

/// Whoever owns a directory may make subvolumes in it, which count in groups of their own and must count in the container's.
fn limits_hold_nested_subvolumes_and_leave_no_group(root: &Path) {
    let root = root.join("groups");
    let driver = Plugin::builtin(mica_storage_btrfs::plugin()).unwrap().open(&OpenArgs::new(&root)).unwrap();
    let key = Key::new("c").unwrap();
    // The suite deletes its roots with all that is in them.
    reap_all_groups(&driver, &root);
    let args = StageArgs { quota_bytes: 4 << 20, ..StageArgs::new(StageKind::Rw, key, &[]) };
    driver.stage_begin(&args).unwrap().commit(key).unwrap();
    for path in ["rw/c/kept", "rw/c/gone"] {
        let made = Command::new("btrfs").args(["subvolume", "create"]).arg(root.join(path)).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    // The container destroys one itself, which stays a member until the kernel has cleaned it away.
    let gone = Command::new("btrfs").args(["subvolume", "delete"]).arg(root.join("rw/c/gone")).output().unwrap();
    assert!(gone.status.success(), "{gone:?}");
    let error = fs_err::write(root.join("rw/c/kept/file"), vec![1; 8 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::QuotaExceeded, "{error}");
    assert_eq!(groups(&root), 1);
    driver.remove(ObjectKind::Rw, key).unwrap();
    // A stage whose writer died is no different.
    let stage = driver.stage_begin(&args).unwrap();
    std::mem::forget(stage);
    driver.remove(ObjectKind::Stage, key).unwrap();
    reap_all_groups(&driver, &root);
}

/// Ends when no group of the driver is left, whose removal waits for the kernel's cleaner.
fn reap_all_groups(driver: &Opened, root: &Path) {
    while groups(root) > 0 {
        while driver.reap(Duration::from_secs(1)).unwrap() {}
        rustix::fs::syncfs(fs_err::File::open(root).unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The driver's quota groups in the file system of a directory: nobody else makes any of this level.
fn groups(root: &Path) -> usize {
    let found =
        Command::new("findmnt").args(["--noheadings", "--output", "UUID", "--target"]).arg(root).output().unwrap();
    let id = String::from_utf8(found.stdout).unwrap();
    let listed = fs_err::read_dir(Path::new("/sys/fs/btrfs").join(id.trim()).join("qgroups")).unwrap();
    listed.flatten().filter(|group| group.file_name().to_string_lossy().starts_with("19817_")).count()
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "skipped, which MICA_NO_SKIP forbids: {reason}");
    eprintln!("skipped: {reason}");
}
