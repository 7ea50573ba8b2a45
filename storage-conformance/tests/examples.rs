//! The example drivers, built as their authors would build them, against the whole suite.

use std::path::{Path, PathBuf};
use std::process::Command;

use mica_storage_conformance::scratch::{Directory, missing_for};
use mica_storage_conformance::{Subject, WorkerCommand, run, serve_worker};
use mica_storage_loader::Plugin;

/// Says which library a worker process should use.
const LIBRARY: &str = "MICA_EXAMPLE_LIBRARY";

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
    let scratch = Directory::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let library = scratch.path().join("libmica_storage_plain.so");
    let source = example("storage-c");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-fPIC", "-fvisibility=hidden", "-shared"]);
    cc.args(["-Wl,-z,defs", "-I"]).arg(example("../storage-api/include"));
    must(cc.arg("-o").arg(&library).args(["plain.c", "tree.c"].map(|file| source.join(file))));
    must_conform(&library, &scratch);
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

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
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
