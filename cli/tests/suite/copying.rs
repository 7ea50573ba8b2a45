//! `cp`, `diff`, `export`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::Store;

#[test]
fn privileged_files_go_both_ways() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "cc", "base", "sleep", "600"]);
    fs_err::create_dir_all(store.path("folder/below")).expect("folders");
    fs_err::write(store.path("folder/below/file"), "one\n").expect("written");
    fs_err::set_permissions(store.path("folder/below/file"), std::fs::Permissions::from_mode(0o640)).expect("a mode");
    store.mica(&["cp", "folder", "cc:/data"]).ok();
    assert_eq!(store.mica(&["exec", "cc", "cat", "/data/folder/below/file"]).ok(), "one");
    store.mica(&["cp", "folder/.", "cc:/data/contents"]).ok();
    assert_eq!(store.mica(&["exec", "cc", "cat", "/data/contents/below/file"]).ok(), "one");
    store.mica(&["cp", "folder/below/file", "cc:/data/renamed"]).ok();
    assert_eq!(store.mica(&["exec", "cc", "stat", "-c", "%a %u", "/data/renamed"]).ok(), "640 0");
    store.mica(&["cp", "cc:/data/folder/below", "back"]).ok();
    assert_eq!(fs_err::read_to_string(store.path("back/file")).expect("copied"), "one\n");
    assert_eq!(fs_err::metadata(store.path("back/file")).expect("copied").mode() & 0o7777, 0o640);
    let archive = store.mica(&["cp", "cc:/data/folder", "-"]);
    assert_eq!(archive.code, 0, "{}", archive.stderr);
    let names: Vec<_> = tar::Archive::new(archive.bytes.as_slice())
        .entries()
        .expect("an archive")
        .map(|entry| {
            entry.expect("an entry").path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned()
        })
        .collect();
    assert_eq!(names, ["folder", "folder/below", "folder/below/file"]);
    assert_eq!(store.mica_with(&["cp", "-", "cc:/tmp"], &archive.bytes).code, 0);
    assert_eq!(store.mica(&["exec", "cc", "cat", "/tmp/folder/below/file"]).ok(), "one");
    store.mica(&["cp", "cc:/nothere", "x"]).fails(1, "/nothere");
    store.mica(&["cp", "nothere:/x", "x"]).fails(1, "No such container: nothere");
    store.mica(&["stop", "-t", "0", "cc"]).ok();
    store.mica(&["cp", "cc:/data/renamed", "stopped"]).ok();
    assert_eq!(fs_err::read_to_string(store.path("stopped")).expect("copied"), "one\n");
}

#[test]
fn privileged_diff_tells_what_changed() {
    let Some(store) = Store::with_base() else { return };
    store
        .mica(&["run", "--name", "cc", "base", "sh", "-c", "touch /data/new; rm /etc/secret; echo x >> /etc/group"])
        .ok();
    let changes = store.mica(&["diff", "cc"]).ok();
    for line in ["C /data", "A /data/new", "C /etc", "D /etc/secret", "C /etc/group"] {
        assert!(changes.lines().any(|change| change == line), "{line} in {changes}");
    }
    assert!(!changes.contains("/bin"), "{changes}");
}

#[test]
fn privileged_export_has_everything() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["run", "--name", "cc", "base", "touch", "/data/new"]).ok();
    store.mica(&["export", "-o", "all.tar", "cc"]).ok();
    let mode = fs_err::metadata(store.path("all.tar")).expect("a file").mode() & 0o777;
    assert_eq!(mode & 0o022, 0, "the caller's umask holds: {mode:o}");
    let mut archive = tar::Archive::new(fs_err::File::open(store.path("all.tar")).expect("a file"));
    let names: Vec<String> = archive
        .entries()
        .expect("an archive")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert!(
        names.iter().any(|name| name.ends_with("data/new")) && names.iter().any(|name| name.ends_with("bin/busybox")),
        "{names:?}"
    );
}
