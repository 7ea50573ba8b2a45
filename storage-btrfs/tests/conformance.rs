//! The suite against the btrfs driver, linked and as a library, on a file system made for it.

use std::path::Path;

use mica_storage_conformance::harness::Driver;
use mica_storage_conformance::scratch::{Directory, in_private_mounts, missing_for, mount_loop_btrfs};

const DRIVER: Driver = Driver { name: "btrfs", linked: mica_storage_btrfs::plugin };

#[test]
fn worker() {
    DRIVER.worker();
}

#[test]
fn privileged_conformance() {
    if let Some(reason) = missing_for(&["unshare", "mkfs.btrfs", "mount"]) {
        return skip(&reason);
    }
    // The directory is the outer process's: it can be removed only when the inner one and its mount are gone.
    let name = "MICA_BTRFS_SCRATCH";
    match std::env::var_os(name) {
        Some(scratch) => {
            let root = mount_loop_btrfs(Path::new(&scratch)).unwrap();
            DRIVER.must_conform(&root, &[]);
        }
        None => {
            let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
            in_private_mounts("privileged_conformance", &[(name, scratch.path().as_os_str())]).unwrap();
        }
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
