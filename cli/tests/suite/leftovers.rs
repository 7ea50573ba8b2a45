//! After everything is removed there is nothing left: no mount, no process, no bytes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::{Store, signal, until};

#[test]
fn privileged_nothing_is_left_behind() {
    let Some(store) = Store::with_base() else { return };
    let before = files(&store.path("root"));
    for round in 0..3 {
        let name = format!("c{round}");
        store.background(&["--name", &name, "-v", "/data", "base", "sh", "-c", "echo x > /big; sleep 600"]);
        store.mica(&["exec", &name, "true"]).ok();
        store.mica(&["stop", "-t", "0", &name]).ok();
        store.mica(&["rm", "-v", &name]).ok();
    }
    assert_eq!(store.mica(&["run", "--rm", "base", "true"]).code, 0);
    let folder = store.path("");
    let folder = folder.to_str().expect("valid UTF-8").trim_end_matches('/');
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(folder), "a mount is left on the host");
    until("the monitors to go", || !monitors(folder));
    assert_eq!(entries(&store.path("run/containers")), 0, "running state is left");
    until("the store to be as it was", || files(&store.path("root")) == before);
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
}

#[test]
fn privileged_a_memory_access_that_the_disk_fails_is_told() {
    let Some(store) = Store::privileged() else { return };
    let mut load = store.command(&["load"]);
    let mut load = load.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut input = load.stdin.take().expect("a pipe");
    // Enough to see that nothing is compressed; then it waits for the rest.
    input.write_all(&[0; 512]).expect("it reads");
    // The file that takes the bytes has no name, but the process has it open.
    let ingest = store.path("root/content/ingest");
    let open = format!("/proc/{}/fd", load.id());
    until("the load to begin", || {
        let files = fs_err::read_dir(&open).into_iter().flatten().flatten();
        files.filter_map(|file| fs_err::read_link(file.path()).ok()).any(|file| file.starts_with(&ingest))
    });
    signal(&load, rustix::process::Signal::BUS);
    let output = load.wait_with_output().expect("it ends");
    drop(input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("No space left on device") && said.contains("\nhint: free some space"), "{said}");
    assert!(store.mica(&["system", "check", "--repair"]).code == 0);
}

fn monitors(folder: &str) -> bool {
    let Ok(processes) = fs_err::read_dir("/proc") else { return false };
    // A monitor's arguments do not name its container, but its open files do.
    processes.flatten().any(|process| {
        let line = fs_err::read(process.path().join("cmdline")).unwrap_or_default();
        let Ok(files) = fs_err::read_dir(process.path().join("fd")) else { return false };
        let mut files = files.flatten().filter_map(|file| fs_err::read_link(file.path()).ok());
        line.starts_with(b"mica-monitor") && files.any(|file| file.starts_with(folder))
    })
}

fn entries(folder: &Path) -> usize {
    fs_err::read_dir(folder).map_or(0, Iterator::count)
}

/// Every file of a store but its locks and its database, which has a size of its own.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name() == "locks" || entry.file_name() == "db" {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}
