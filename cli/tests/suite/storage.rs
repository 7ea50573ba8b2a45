//! `storage …`: drivers that are there, drivers that are refused, and the verdicts on good and bad ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::support::{Done, Store, finish};

/// Drivers built from C, in a folder only we can write to.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, driver: &str) -> PathBuf {
        self.0.path().join(format!("libmica_storage_{driver}.so"))
    }

    /// The example of the documentation.
    fn plain(&self) -> PathBuf {
        self.build("plain", &["examples/storage-c/plain.c", "examples/storage-c/tree.c"])
    }

    /// A driver that stores nothing it is given.
    fn hostile(&self) -> PathBuf {
        self.build("hostile", &["storage-loader/tests/plugins/hostile.c"])
    }

    fn build(&self, driver: &str, sources: &[&str]) -> PathBuf {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout");
        let file = self.file(driver);
        let built = Command::new("cc")
            .args(["-std=c11", "-O1", "-shared", "-fPIC", "-I"])
            .arg(home.join("storage-api/include"))
            .args(sources.iter().map(|source| home.join(source)))
            .arg("-o")
            .arg(&file)
            .output()
            .expect("cc starts");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        chmod(&file, 0o755);
        file
    }

    /// The program with this folder searched first.
    fn mica(&self, store: &Store, args: &[&str]) -> Done {
        let mut command = store.command(args);
        command.env("MICA_STORAGE_PATH", self.0.path());
        finish(command, b"")
    }
}

fn chmod(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs_err::set_permissions(path, mode).expect("a mode");
}

/// The rows of a listing, by name.
fn rows(done: Done) -> Vec<Json> {
    done.ok().lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn row<'a>(rows: &'a [Json], name: &str) -> &'a Json {
    rows.iter().find(|row| row["Name"] == name).unwrap_or_else(|| panic!("no `{name}` in {rows:#?}"))
}

#[test]
fn privileged_drivers_are_listed_without_running_them() {
    let Some(store) = Store::privileged() else { return };
    let folder = Folder::new();
    folder.plain();
    let good = fs_err::read(folder.hostile()).expect("a library");
    for (name, bytes, mode) in
        [("open", &good[..], 0o757), ("short", &good[..good.len() / 2], 0o755), ("text", b"#!/bin/sh\n", 0o755)]
    {
        fs_err::write(folder.file(name), bytes).expect("written");
        chmod(&folder.file(name), mode);
    }
    // The example by another name, which its note does not know.
    fs_err::copy(folder.file("plain"), folder.file("other")).expect("copied");

    let rows = rows(folder.mica(&store, &["storage", "ls", "--format", "json"]));
    let expected = [
        ("plain", "usable", "1.0.0", ""),
        ("hostile", "usable", "-", ""),
        ("open", "refused", "-", "(mode 0757) can be written by others"),
        ("short", "refused", "-", "it is cut off"),
        ("text", "refused", "-", "it is cut off"),
        ("other", "refused", "-", "calls itself `plain`, its file says `other`"),
        ("overlay", "usable", env!("CARGO_PKG_VERSION"), ""),
        ("vfs", "usable", env!("CARGO_PKG_VERSION"), ""),
        ("btrfs", "usable", env!("CARGO_PKG_VERSION"), ""),
    ];
    for (name, status, version, reason) in expected {
        let row = row(&rows, name);
        assert_eq!((row["Status"].as_str(), row["Version"].as_str()), (Some(status), Some(version)), "{row:#}");
        assert!(row["Reason"].as_str().is_some_and(|words| words.contains(reason)), "{row:#}");
        assert_eq!(row["Current"], *name == crate::support::driver(), "{row:#}");
    }
    assert_eq!(row(&rows, "plain")["ABI"], "1.0");
    let names = folder.mica(&store, &["storage", "ls", "-q"]).ok();
    assert!(names.lines().all(|name| !["open", "short", "text", "other"].contains(&name)), "{names}");
    assert!(!store.path("root").exists(), "listing drivers makes a store");
}

#[test]
fn privileged_a_pinned_driver_must_be_the_pinned_file() {
    let Some(store) = Store::privileged() else { return };
    let folder = Folder::new();
    folder.plain();
    let listed = rows(folder.mica(&store, &["storage", "ls", "--format", "json"]));
    let digest = row(&listed, "plain")["Digest"].as_str().expect("a digest").to_owned();
    let config = store.path("config.toml");
    let with_pin = |digest: &str, args: &[&str]| {
        fs_err::write(&config, format!("[storage]\npins = {{ plain = \"{digest}\" }}\n")).expect("written");
        let mut command = store.command(args);
        command.env("MICA_STORAGE_PATH", folder.0.path()).env("MICA_CONFIG", &config);
        finish(command, b"")
    };
    assert!(with_pin(&digest, &["storage", "info", "plain"]).ok().contains("Works here: true"));
    let wrong = format!("sha256:{}", "0".repeat(64));
    with_pin(&wrong, &["storage", "info", "plain"]).fails(1, "the configuration pins `sha256:000");
    with_pin(&wrong, &["storage", "test", "plain"]).fails(125, "the configuration pins `sha256:000");
    let listed = rows(with_pin(&wrong, &["storage", "ls", "--format", "json"]));
    assert_eq!(row(&listed, "plain")["Status"], "refused");
    assert_eq!(row(&listed, "vfs")["Status"], "usable", "others are not pinned");
}

#[test]
fn privileged_a_probe_tells_what_works_and_leaves_nothing() {
    let Some(store) = Store::privileged() else { return };
    let place = store.path("place");
    fs_err::create_dir(&place).expect("a folder");
    let words = ["storage", "probe", "--format", "json", "--root", place.to_str().expect("valid UTF-8")];
    let rows = rows(store.mica(&words));
    assert_eq!(row(&rows, "vfs")["Works"], true);
    assert_eq!(row(&rows, crate::support::driver().as_str())["Chosen"], true);
    let btrfs = row(&rows, "btrfs");
    if btrfs["Works"] == false {
        assert!(btrfs["Remedy"].as_str().is_some_and(|remedy| remedy.contains("--root")), "{btrfs:#}");
        assert!(btrfs["Reason"].as_str().is_some_and(|reason| reason.contains("btrfs")), "{btrfs:#}");
    }
    assert_eq!(fs_err::read_dir(&place).expect("a folder").count(), 0);
    assert!(!store.path("root").exists(), "a probe makes a store");
}

#[test]
fn privileged_what_a_probe_found_holds_until_the_next_boot() {
    let Some(store) = Store::privileged() else { return };
    if crate::support::driver() != "overlay" {
        return;
    }
    let detail = || {
        let text = store.mica(&["info"]).ok();
        text.lines().find_map(|line| line.trim().strip_prefix("Detail: ")).map(str::to_owned).expect("a detail")
    };
    let found = detail();
    // The first command made the place that the second one's mark is about.
    assert_eq!(detail(), found);
    let mark = fs_err::read_dir(store.path("run")).expect("the run root").flatten().map(|entry| entry.path());
    let mark = mark.into_iter().find(|path| path.display().to_string().contains("/probed-")).expect("a mark");
    let known = fs_err::read_to_string(&mark).expect("text");
    assert!(known.ends_with(&format!("\n{found}\n")), "{known}");
    // An older kernel has another answer, and every later command must act on that one.
    let older = "mounts by classic, ids not mapped";
    fs_err::write(&mark, known.replace(&found, older)).expect("written");
    assert_eq!(detail(), older);
    // An older driver said less, and one that is asked to go by that looks again.
    for odd in ["mounts by magic\n", "mounts by classic\n", "", "\n", "mounts"] {
        fs_err::write(&mark, known.replace(&format!("{found}\n"), odd)).expect("written");
        assert_eq!(detail(), found, "{odd:?}");
    }
}

#[test]
fn privileged_a_driver_is_shown_in_full() {
    let Some(store) = Store::privileged() else { return };
    let text = store.mica(&["storage", "info", "overlay"]).ok();
    for words in ["Driver: overlay", "ABI: 1.0", "Digest: sha256:", "Works here: true", "Capabilities: ", "Options:\n "]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    assert_eq!(store.mica(&["storage", "info", "--format", "{{.Name}}"]).ok(), crate::support::driver());
    store.mica(&["storage", "info", "none"]).fails(1, "no storage driver `none`");
}

#[test]
fn privileged_a_driver_from_the_header_alone_conforms() {
    let Some(store) = Store::privileged() else { return };
    let folder = Folder::new();
    let plain = folder.plain();
    let plain = plain.to_str().expect("valid UTF-8");
    let text = store.mica(&["storage", "test", plain]).ok();
    assert!(text.contains("\npassed   stage: a layer comes back as it was written\n"), "{text}");
    assert!(text.contains("\nskipped  "), "{text}");
    assert!(text.ends_with(" skipped") && text.contains("\nthe driver `plain` conforms: "), "{text}");
    let left: Vec<_> = fs_err::read_dir(store.path("")).expect("the test's folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn privileged_a_driver_that_is_wrong_does_not_conform() {
    let Some(store) = Store::privileged() else { return };
    let folder = Folder::new();
    folder.hostile();
    let done = folder.mica(&store, &["storage", "test", "--format", "json", "hostile"]);
    assert_eq!(done.code, 1, "{done:#?}");
    let document: Json = serde_json::from_str(&done.stdout).expect("one document");
    assert_eq!((&document["Conforms"], &document["Driver"]), (&Json::Bool(false), &"hostile".into()));
    let cases = document["Cases"].as_array().expect("cases");
    assert!(cases.iter().any(|case| case["verdict"] == "failed" && case["reason"] != ""), "{document:#}");
    store.mica(&["storage", "test", "/does/not/exist.so"]).fails(125, "/does/not/exist.so");
    let refused = folder.mica(&store, &["storage", "test", "-o", "a=b", "btrfs"]);
    refused.fails(125, "ran no test");
}
