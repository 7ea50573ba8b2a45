//! Plugins that break the contract, each in one way, written in C and compiled here: every one gives a clear error, and
//! none harms the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use fs_err as fs;
use mica_storage_api::{Caps, CheckLevel, ErrorKind, Flow, Key, LogLevel, MountArgs, ObjectKind, StageArgs, StageKind};
use mica_storage_loader::{Driver, Error, HostServices, OpenArgs, Plugin, SearchPath, candidates, discover};
use tempfile::TempDir;

const FILE: &str = "libmica_storage_hostile.so";

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new(fault: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"])
            .arg(format!("-DFAULT={fault}"))
            .arg("-I")
            .arg(home.join("../storage-api/include"))
            .arg(home.join("tests/plugins/hostile.c"))
            .arg("-o")
            .arg(bench.file())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        chmod(&bench.file(), 0o755);
        bench
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(FILE)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn try_open(&self) -> Result<Driver, Error> {
        Plugin::load(&self.file())?.open(&OpenArgs::new(&self.root()))
    }

    fn open(&self) -> Driver {
        self.try_open().unwrap()
    }
}

fn chmod(path: &Path, mode: u32) {
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode)).unwrap();
}

/// The whole chain, as a person reads it.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

fn key(name: &str) -> Key<'_> {
    Key::new(name).unwrap()
}

fn layer(driver: &Driver) -> Result<mica_storage_loader::Stage, Error> {
    driver.stage_begin(&StageArgs::new(StageKind::Layer, key("s"), &[]))
}

#[test]
fn without_a_fault_it_works_and_speaks_the_smaller_minor() {
    let bench = Bench::new("NONE");
    let path = SearchPath::new([bench.dir.path().to_owned()]);
    assert_eq!(discover("hostile", &path).unwrap(), bench.file());
    let found = candidates(&path);
    let examined = found[0].outcome.as_ref().unwrap();
    assert_eq!((found.len(), examined.name.as_deref(), &examined.note), (1, Some("hostile"), &None));
    let plugin = path.load("hostile").unwrap();
    assert_eq!((plugin.name(), plugin.version(), plugin.abi()), ("hostile", "1.2.3", (1, 0)));

    let driver = bench.open();
    assert_eq!(driver.info().caps, Caps::PROMOTE, "bits of a newer minor are dropped");
    assert_eq!(driver.info().backing_fs, "nothing");
    assert_eq!(layer(&driver).unwrap().commit(key("k")).unwrap(), 42);
    assert!(!bench.root().join("aborted").exists());
    drop(layer(&driver).unwrap());
    assert!(bench.root().join("aborted").exists());
    // Verbs the table leaves out have their documented meaning.
    assert_eq!(driver.usage(ObjectKind::Layer, key("k")).unwrap_err().kind(), ErrorKind::Fallback);
    assert_eq!(layer(&driver).unwrap().sync().unwrap_err().kind(), ErrorKind::Fallback);
    driver.check(ObjectKind::Layer, key("k"), CheckLevel::Deep).unwrap();
    assert!(driver.interface("org.example.anything").is_null());
}

#[test]
fn tables_that_are_refused() {
    for (fault, expected) in [
        ("MAGIC", "begins with 0x464c457f"),
        ("MAJOR", "speaks storage ABI 2.7"),
        ("DECLINES", "does not offer storage ABI 1"),
        ("SHORT_RECORD", "plugin record has 16 bytes"),
        ("SHORT_TABLE", "function table has 112 bytes, ABI 1.0 has 120"),
        ("NO_TABLE", "function table has 0 bytes"),
        ("NO_OPEN", "has no `open`"),
        ("NO_COMMIT", "has no `stage_commit`"),
        ("BAD_NAME", "calls itself `Ho/st?ile`"),
        ("OTHER_NAME", "calls itself `other`, its file says `hostile`"),
    ] {
        let bench = Bench::new(fault);
        let error = Plugin::load(&bench.file()).unwrap_err();
        let words = words(&error);
        assert!(words.contains(expected) && words.contains(FILE), "{fault}: {words}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{fault}");
    }
}

#[test]
fn libraries_that_are_no_plugins() {
    let bench = Bench::new("NONE");
    fs::write(bench.file(), "not a library").unwrap();
    let refused = words(&Plugin::load(&bench.file()).unwrap_err());
    assert!(refused.contains("no shared library"), "{refused}");
    let source = bench.dir.path().join("empty.c");
    fs::write(&source, "int unrelated;").unwrap();
    let library = bench.dir.path().join("libmica_storage_empty.so");
    assert!(
        Command::new("cc").args(["-shared", "-fPIC"]).arg(&source).arg("-o").arg(&library).status().unwrap().success()
    );
    chmod(&library, 0o755);
    assert!(words(&Plugin::load(&library).unwrap_err()).contains("exports no `mica_storage_plugin_v1`"));
}

#[test]
fn garbage_from_open() {
    for (fault, kind, expected) in [
        ("UNKNOWN_KIND", ErrorKind::Other, "what \\u{1b}[31mis this (unknown error kind 999)"),
        ("NEGATIVE_KIND", ErrorKind::Other, "negative (unknown error kind -5)"),
        ("LONG_MESSAGE", ErrorKind::Io, "xxxxxxxx"),
        ("NULL_DRIVER", ErrorKind::Other, "success without a driver"),
        ("BAD_WHITEOUT", ErrorKind::Other, "unknown whiteout style 77"),
        ("LONG_INFO", ErrorKind::Other, "information text of"),
    ] {
        let bench = Bench::new(fault);
        let error = bench.try_open().unwrap_err();
        let words = words(&error);
        assert!(words.starts_with("storage driver `hostile`: open failed: "), "{fault}: {words}");
        assert!(words.contains(expected), "{fault}: {words}");
        assert_eq!(error.kind(), kind, "{fault}");
        assert!(words.len() < 600, "{fault}");
    }
}

#[test]
fn garbage_from_stage_begin() {
    for (fault, expected) in [
        ("NULL_STAGE", "success without a stage"),
        ("NO_TARGET", "no directory to write into"),
        ("CLOSED_TARGET", "which is not open"),
        ("FILE_TARGET", "something else than it should be"),
        ("SAME_FD_TWICE", "twice"),
    ] {
        let bench = Bench::new(fault);
        let driver = bench.open();
        let words = words(&layer(&driver).unwrap_err());
        assert!(words.contains("`hostile`: stage_begin failed") && words.contains(expected), "{fault}: {words}");
        assert_eq!(bench.root().join("aborted").exists(), fault != "NULL_STAGE", "{fault}: the stage is ended");
    }
}

#[test]
fn garbage_from_mount() {
    for (fault, expected) in [
        ("NO_FD", "success with descriptor -1"),
        ("STDIN_FD", "descriptor 0, which is something else"),
        ("NO_MOUNT", "something else than it should be"),
    ] {
        let bench = Bench::new(fault);
        let words = words(&bench.open().mount(&MountArgs::view(&[key("k")])).unwrap_err());
        assert!(words.contains("`hostile`: mount failed") && words.contains(expected), "{fault}: {words}");
    }
    assert!(rustix::io::fcntl_getfd(std::io::stdin()).is_ok(), "standard input was closed");
}

#[test]
fn garbage_from_enumerations() {
    let names = |driver: &Driver| {
        let mut names = Vec::new();
        let outcome = driver.list(&mut |_, name| {
            names.push(name.to_string());
            Flow::Continue
        });
        (names, outcome)
    };
    let (seen, outcome) = names(&Bench::new("BAD_NAMES").open());
    assert_eq!(seen, ["good"]);
    assert!(words(&outcome.unwrap_err()).contains("`../../etc` is not a storage key"));
    let (seen, outcome) = names(&Bench::new("BAD_OBJECT").open());
    assert_eq!(seen.len(), 0);
    assert!(words(&outcome.unwrap_err()).contains("unknown kind 9"));

    for (fault, expected) in [
        ("CHANGE_ABSOLUTE", "`/etc/passwd`, which is no path of the tree"),
        ("CHANGE_DOTDOT", "`../x`, which is no path of the tree"),
        ("CHANGE_NO_DIR", "`a/x` without its directory"),
        ("CHANGE_SHORT", "shorter than ABI 1.0"),
    ] {
        let driver = Bench::new(fault).open();
        let error = driver.changes(key("rw"), &[], &mut |_| panic!("{fault} was passed on")).unwrap_err();
        assert!(words(&error).contains(expected), "{fault}: {}", words(&error));
    }
}

#[test]
fn a_driver_that_does_not_stop_is_not_heard() {
    let driver = Bench::new("ENDLESS_NAMES").open();
    let mut calls = 0;
    driver
        .list(&mut |_, _| {
            calls += 1;
            if calls == 3 { Flow::Stop } else { Flow::Continue }
        })
        .unwrap();
    assert_eq!(calls, 3);
}

#[test]
fn a_panic_of_the_engine_passes_through_the_driver() {
    let driver = Bench::new("ENDLESS_NAMES").open();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| driver.list(&mut |_, _| panic!("engine"))));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"engine"));
    driver.remove(ObjectKind::Layer, key("k")).unwrap();
}

#[test]
fn a_host_that_is_kept_after_close_refuses() {
    let bench = Bench::new("LATE_HOST");
    drop(bench.open());
    let error = bench.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Prerequisite, "{}", words(&error));
    assert!(!bench.root().join("locks/late").exists());
}

#[test]
fn files_that_others_could_have_written() {
    let bench = Bench::new("NONE");
    let refused = |path: &Path| words(&Plugin::load(path).unwrap_err());
    for (mode, shown) in [(0o757, "0757"), (0o775, "0775")] {
        chmod(&bench.file(), mode);
        let words = refused(&bench.file());
        assert!(words.contains(shown) && words.contains("can be written by others"), "{words}");
    }
    chmod(&bench.file(), 0o755);

    let link = bench.dir.path().join("libmica_storage_link.so");
    fs::os::unix::fs::symlink(bench.file(), &link).unwrap();
    assert!(refused(&link).contains("is a symbolic link"));
    let directory = bench.dir.path().join("libmica_storage_dir.so");
    fs::create_dir(&directory).unwrap();
    assert!(refused(&directory).contains("not a regular file"));
    let fifo = bench.dir.path().join("libmica_storage_fifo.so");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    assert!(refused(&fifo).contains("not a regular file"));
    let missing = Plugin::load(&bench.dir.path().join("libmica_storage_none.so")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);

    let open = bench.dir.path().join("open");
    fs::create_dir_all(open.join("below")).unwrap();
    let inside = open.join("below").join(FILE);
    fs::copy(bench.file(), &inside).unwrap();
    for mode in [0o777, 0o1777] {
        chmod(&open, mode);
        let outcome = Plugin::load(&inside);
        // A sticky directory of root's is as good as a closed one; one of another user's is not.
        if mode == 0o1777 && rustix::process::geteuid().is_root() {
            outcome.unwrap();
        } else {
            let words = words(&outcome.unwrap_err());
            assert!(words.contains("/open` (mode ") && words.contains("chmod go-w"), "{words}");
        }
    }
}

#[test]
fn privileged_files_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return skipped("needs root to give files away");
    }
    let bench = Bench::new("NONE");
    let nobody = Some(rustix::fs::Uid::from_raw(65534));
    let sub = bench.dir.path().join("sub");
    fs::create_dir(&sub).unwrap();
    let inside = sub.join(FILE);
    fs::copy(bench.file(), &inside).unwrap();
    rustix::fs::chown(&sub, nobody, None).unwrap();
    assert!(words(&Plugin::load(&inside).unwrap_err()).contains("/sub` belongs to user 65534"));
    rustix::fs::chown(bench.file(), nobody, None).unwrap();
    let error = Plugin::load(&bench.file()).unwrap_err();
    assert!(words(&error).contains("belongs to user 65534"), "{}", words(&error));
    assert_eq!(error.kind(), ErrorKind::Permission);
}

#[test]
fn a_driver_logs_and_locks_through_the_host() {
    #[derive(Debug, Default)]
    struct Log(Mutex<Vec<String>>);
    impl HostServices for Log {
        fn log(&self, level: LogLevel, target: &str, message: &str) {
            self.0.lock().unwrap().push(format!("{level:?} {target} {message}"));
        }
        fn progress(&self, _call_id: u64, _done: u64, _total: u64) -> Flow {
            Flow::Continue
        }
    }
    let bench = Bench::new("NONE");
    let services = Arc::new(Log::default());
    let root = bench.root();
    let args = OpenArgs { services: services.clone(), ..OpenArgs::new(&root) };
    Plugin::load(&bench.file()).unwrap().open(&args).unwrap();
    assert_eq!(*services.0.lock().unwrap(), ["Warn hostile opened"]);
    assert!(root.join("locks/once").exists());
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
