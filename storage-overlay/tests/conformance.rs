//! The suite against the overlay driver, linked and as a library, by every mount interface of the kernel.

use std::path::Path;

use mica_storage_conformance::harness::Driver;
use mica_storage_conformance::scratch::{Directory, in_private_mounts, missing_for};

const DRIVER: Driver = Driver { name: "overlay", linked: mica_storage_overlay::plugin };

#[test]
fn worker() {
    DRIVER.worker();
}

#[test]
fn privileged_conformance() {
    if let Some(reason) = missing_for(&[]) {
        return skip(&reason);
    }
    let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    DRIVER.must_conform(scratch.path(), &[]);
}

#[test]
fn privileged_conformance_by_names() {
    if let Some(reason) = missing_for(&[]) {
        return skip(&reason);
    }
    let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    DRIVER.must_conform(scratch.path(), &["interface=name"]);
}

#[test]
fn privileged_conformance_by_the_classic_mount() {
    if let Some(reason) = missing_for(&["unshare"]) {
        return skip(&reason);
    }
    // This one attaches for a moment, which the machine's own mount table need not see.
    let name = "MICA_OVERLAY_SCRATCH";
    match std::env::var_os(name) {
        Some(scratch) => DRIVER.must_conform(Path::new(&scratch), &["interface=classic"]),
        None => {
            let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
            in_private_mounts("privileged_conformance_by_the_classic_mount", &[(name, scratch.path().as_os_str())])
                .unwrap();
        }
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "skipped, which MICA_NO_SKIP forbids: {reason}");
    eprintln!("skipped: {reason}");
}
