//! The suite against the vfs driver, linked and as a library.

use std::path::Path;

use mica_storage_conformance::harness::Driver;
use mica_storage_conformance::scratch::{Directory, missing_for};

const DRIVER: Driver = Driver { name: "vfs", linked: mica_storage_vfs::plugin };

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

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "skipped, which MICA_NO_SKIP forbids: {reason}");
    eprintln!("skipped: {reason}");
}
