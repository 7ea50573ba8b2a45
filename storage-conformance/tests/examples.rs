//! The example drivers, built as their authors would build them, against the whole suite.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mica_storage_api::{Caps, CheckLevel, ErrorKind, Key, ObjectKind};
use mica_storage_conformance::scratch::{Directory, missing_for};
use mica_storage_conformance::{Subject, WorkerCommand, run, serve_worker};
use mica_storage_loader::{OpenArgs, Plugin};

/// Says which library a worker process should use.
const LIBRARY: &str = "MICA_EXAMPLE_LIBRARY";

/// The suite counts this process's descriptors after each case, and the tests here are threads of one process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn worker() {
    let library = std::env::var_os(LIBRARY).unwrap_or_default();
    serve_worker(|| Plugin::load(Path::new(&library)));
}

/// A driver in C99, from the header and the C library alone.
#[test]
fn privileged_the_driver_in_c() {
    if let Some(reason) = missing_for(&["cc"]) {
        return skip(&reason);
    }
    let _alone = alone();
    let sources = ["plain.c", "tree.c"].map(|file| home("../examples/storage-c").join(file));
    let (scratch, library) = build(&home("../storage-api/include"), &sources);
    must_conform(&library, &scratch);
}

/// A driver in Rust, in a workspace of its own, from the contract's crate alone.
#[test]
fn privileged_the_driver_in_rust() {
    if let Some(reason) = missing_for(&[]) {
        return skip(&reason);
    }
    let _alone = alone();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("storage-rust");
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let build = |network: &[&str]| {
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target).args(network);
        cargo.arg("--manifest-path").arg(home("../examples/storage-rust/Cargo.toml"));
        cargo
    };
    // The packages are among Mica's own, so they are here already; where not, crates.io has them.
    if !build(&["--offline"]).output().unwrap().status.success() {
        must(&mut build(&[]));
    }
    let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let library = scratch.path().join("libmica_storage_simple.so");
    fs_err::copy(target.join("debug/libmica_storage_simple.so"), &library).unwrap();
    only_root_writes(&[scratch.path(), &library]);
    must_conform(&library, &scratch);
}

/// Old driver, new engine: the driver and the header of ABI 1.0 as they were, which nobody edits.
#[test]
fn privileged_a_driver_of_abi_1_0() {
    if let Some(reason) = missing_for(&["cc"]) {
        return skip(&reason);
    }
    let _alone = alone();
    let sources = ["plain.c", "tree.c"].map(|file| home("tests/v1.0").join(file));
    let (scratch, library) = build(&home("tests/v1.0"), &sources);
    must_conform(&library, &scratch);
}

/// New driver, old engine: what this engine does not know is dropped, and the rest works.
#[test]
fn privileged_a_driver_of_a_later_minor() {
    if let Some(reason) = missing_for(&["cc"]) {
        return skip(&reason);
    }
    let _alone = alone();
    let sources = [home("tests/newer.c"), home("tests/v1.0/tree.c")];
    let (scratch, library) = build(&home("tests/v1.0"), &sources);
    let plugin = Plugin::load(&library).unwrap();
    assert_eq!(plugin.abi(), (1, 0), "the minor in force is the smaller one");
    let root = scratch.path().join("opened");
    let driver = plugin.open(&OpenArgs::new(&root)).unwrap();
    let known = Caps::DETACHED_MOUNT | Caps::PROMOTE | Caps::LINEAR_SNAPSHOT;
    assert_eq!(driver.info().caps, known, "bits of a later minor are dropped");
    let error = driver.check(ObjectKind::Layer, Key::new("later").unwrap(), CheckLevel::Present).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other, "an error kind of a later minor is `Other`");
    drop(driver);
    must_conform(&library, &scratch);
}

fn build(include: &Path, sources: &[PathBuf]) -> (Directory, PathBuf) {
    let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let library = scratch.path().join("libmica_storage_plain.so");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-fPIC", "-fvisibility=hidden", "-shared"]);
    must(cc.args(["-Wl,-z,defs", "-I"]).arg(include).args(sources).arg("-o").arg(&library));
    only_root_writes(&[scratch.path(), &library]);
    (scratch, library)
}

/// An earlier run of the suite may have cleared the umask, and what others may write to is not loaded.
fn only_root_writes(paths: &[&Path]) {
    for path in paths {
        fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

fn must_conform(library: &Path, scratch: &Directory) {
    let plugin = Plugin::load(library).unwrap();
    let worker = WorkerCommand {
        args: ["worker", "--exact", "--nocapture"].map(str::to_owned).to_vec(),
        environment: vec![(LIBRARY.to_owned(), library.to_str().unwrap().to_owned())],
    };
    let root = scratch.path().join("root");
    fs_err::create_dir(&root).unwrap();
    let report = run(&Subject::new(&plugin, &worker), &root, &mut |_| {}).unwrap();
    assert!(report.passed(), "{}:\n{report}", library.display());
    let left: Vec<_> = fs_err::read_dir(&root).unwrap().collect();
    assert!(left.is_empty(), "the suite left {left:?}");
}

fn home(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// CI sets `MICA_NO_SKIP`, so that nothing is passed over there.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "cannot run here: {reason}");
    eprintln!("skipped: {reason}");
}
