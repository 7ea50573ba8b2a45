//! Images: names, commit, history, archives, removal.

use std::process::Stdio;

use crate::support::Store;

#[test]
fn privileged_names_come_and_go() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["tag", "base", "other:1"]).ok();
    store.mica(&["tag", "base", "registry.example/path/name:2"]).ok();
    let rows = store.mica(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    assert_eq!(rows, ["base:latest", "other:1", "registry.example/path/name:2"]);
    let id = store.mica(&["images", "-q", "--no-trunc"]).ok();
    assert!(id.starts_with("sha256:") && id.lines().count() == 1, "{id}");
    assert_eq!(store.mica(&["images", "-q", "other"]).ok(), id[7..19]);
    assert_eq!(store.mica(&["images", "-q", "--filter", "reference=nothing"]).ok(), "");
    store.mica(&["images", "--filter", "colour=red"]).fails(1, "colour");
    assert!(store.mica(&["images"]).ok().starts_with("REPOSITORY "));
    assert_eq!(store.mica(&["rmi", "other:1"]).ok(), "Untagged: other:1");
    store.mica(&["rmi", "other:1"]).fails(1, "No such image: other:1");
    store.mica(&["tag", "nothere", "x"]).fails(1, "No such image: nothere");
    store.mica(&["create", "--name", "cc", "base"]).ok();
    let refused = store.mica(&["rmi", &id]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    store.mica(&["rm", "cc"]).ok();
    let removed = store.mica(&["rmi", "-f", &id]).ok();
    assert!(removed.contains("Untagged: base:latest") && removed.contains(&format!("Deleted: {id}")), "{removed}");
    assert_eq!(store.mica(&["images", "-q"]).ok(), "");
}

#[test]
fn privileged_commit_makes_an_image_with_its_changes() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["run", "--name", "cc", "base", "sh", "-c", "echo kept > /data/file"]).ok();
    let id = store.mica(&["commit", "-m", "a remark", "-a", "me", "-c", "ENV ADDED=1", "cc", "made:1"]).ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(store.mica(&["run", "--rm", "made:1", "sh", "-c", "cat /data/file; echo $ADDED"]).ok(), "kept\n1");
    let history = store.mica(&["history", "--format", "{{.ID}}|{{.Comment}}", "--no-trunc", "made:1"]).ok();
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines[0], format!("{id}|a remark"));
    assert!(lines[1..].iter().all(|line| line.starts_with("<missing>|") || line.starts_with("sha256:")), "{history}");
    assert!(store.mica(&["history", "made:1"]).ok().starts_with("IMAGE "));
    assert_eq!(store.mica(&["inspect", "-f", "{{.Author}} {{len .RootFS.Layers}}", "made:1"]).ok(), "me 2");
    store.mica(&["commit", "nothere"]).fails(1, "No such container: nothere");
}

#[test]
fn privileged_saved_archives_load_again_as_the_same_image() {
    let Some(store) = Store::with_base() else { return };
    let id = store.mica(&["images", "-q", "--no-trunc"]).ok();
    store.mica(&["save", "-o", "image.tar", "base"]).ok();
    let piped = store.mica(&["save", "--format", "oci-archive", "base"]);
    assert_eq!(piped.code, 0, "{}", piped.stderr);
    store.mica(&["save", "-o", "image.tar", "nothere"]).fails(1, "No such image: nothere");
    assert!(fs_err::metadata(store.path("image.tar")).expect("a file").len() > 1024, "a wrong name empties no file");
    store.mica(&["rmi", "base"]).ok();
    assert_eq!(store.mica(&["load", "-i", "image.tar"]).ok(), "Loaded image: base:latest");
    assert_eq!(store.mica(&["images", "-q", "--no-trunc"]).ok(), id);
    store.mica(&["rmi", "base"]).ok();
    let loaded = store.mica_with(&["load"], &piped.bytes);
    assert!(loaded.code == 0 && loaded.stdout.contains("Loaded image"), "{loaded:#?}");
    assert_eq!(store.mica(&["images", "-q", "--no-trunc"]).ok(), id);
    assert_eq!(store.mica(&["run", "--rm", &id, "echo", "works"]).ok(), "works");
    store.mica_with(&["load"], b"this is no archive").fails(1, "Error: ");
}

#[test]
fn privileged_the_store_is_described() {
    let Some(store) = Store::with_base() else { return };
    let driver = store.mica(&["info", "--format", "{{.Driver}}"]).ok();
    assert!(!driver.is_empty());
    assert_eq!(store.mica(&["info", "-f", "{{.Images}} {{.Containers}}"]).ok(), "1 0");
    assert!(store.mica(&["info"]).ok().contains("Storage Driver: "));
    let usage = store.mica(&["system", "df"]).ok();
    let kinds: Vec<&str> = usage.lines().skip(1).map(|line| line.split("  ").next().unwrap_or_default()).collect();
    assert_eq!(kinds, ["Images", "Containers", "Local Volumes", "Build Cache"]);
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
}

#[test]
fn privileged_a_reader_that_goes_is_no_error() {
    let Some(store) = Store::with_base() else { return };
    let mut child =
        store.command(&["save", "base"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("an end");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), b"".as_slice()));
}
