//! `--storage-opt size=`: kept where the driver can, refused before anything is made where it cannot.

use std::process::Command;

use crate::support::{Done, Store, driver, finish, reapers, until};

#[test]
fn privileged_a_limit_nobody_can_keep_is_refused_and_leaves_nothing() {
    let Some(store) = Store::with_base() else { return };
    // The import's reaper opens the driver too, and what that tries out lies in the store for a moment.
    until("the reaper to go", || reapers(&store).is_empty());
    let before = files(&store);
    // What the store's file system can do is the machine's business; inodes on btrfs are what no machine limits.
    let option = if driver() == "btrfs" { "inodes=100" } else { "size=16m" };
    if store.mica(&["create", "--storage-opt", option, "base"]).code == 0 {
        return;
    }
    for command in ["run", "create"] {
        let done = store.mica(&[command, "--storage-opt", option, "base", "true"]);
        let code = if command == "run" { 125 } else { 1 };
        done.fails(code, &format!("cannot be limited by the storage driver `{}` on ", driver()));
    }
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "");
    assert_eq!(files(&store), before, "a refusal has left something");
    assert_eq!(store.mica(&["run", "--rm", "--storage-opt", "size=0", "base", "echo", "free"]).ok(), "free");
    store.mica(&["run", "--storage-opt", "size=a", "base"]).fails(125, "invalid size: `a`");
    store.mica(&["run", "--storage-opt", "volume=1", "base"]).fails(125, "options of the driver go before the command");
}

/// On a btrfs of its own, in a mount namespace that this test is run again in.
#[test]
fn privileged_a_limited_container_cannot_write_beyond() {
    const INSIDE: &str = "MICA_TEST_QUOTA_INSIDE";
    let Some(store) = Store::privileged() else { return };
    if std::env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe().expect("this program"));
        again.args(["quotas::privileged_a_limited_container_cannot_write_beyond", "--exact", "--nocapture"]);
        again.env(INSIDE, "1").env("MICA_TEST_STORAGE_DRIVER", "btrfs");
        finish(again, b"").ok();
        return;
    }
    let (image, root) = (store.path("image"), store.path("root"));
    fs_err::create_dir(&root).expect("a folder");
    fs_err::File::create(&image).and_then(|file| file.set_len(1 << 30)).expect("an image");
    for line in [vec!["mkfs.btrfs", "-q"], vec!["mount", "-o", "loop"]] {
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).arg(&image);
        if line[0] == "mount" {
            command.arg(&root);
        }
        finish(command, b"").ok();
    }
    // Its loop device goes with the mount, and that with this process.
    fs_err::remove_file(&image).expect("removed");
    let archive = store.path("base.tar");
    crate::support::base_archive(&archive);
    store.mica(&["import", "-c", "ENV PATH=/bin", archive.to_str().expect("valid UTF-8"), "base"]).ok();

    let limit = ["--storage-opt", "size=8m", "base"];
    let run = |flags: &[&str], script: &str| -> Done {
        store.mica(&[&["--storage-opt", "quota=simple", "run", "--rm"], flags, &["sh", "-c", script]].concat())
    };
    store.mica(&["run", "--storage-opt", "size=8m", "base", "true"]).fails(125, "quotas are off on this file system");
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "");

    let fill = "head -c 20000000 /dev/zero | cat > /f";
    run(&limit, fill).fails(1, "Disk quota exceeded");
    run(&limit, "head -c 4000000 /dev/zero > /f").ok();
    run(&["base"], fill).ok();
    // Now that quotas are on nothing has to be said; and a kept container keeps its limit.
    let id = store.mica(&["create", "--storage-opt", "size=8m", "base", "sh", "-c", fill]).ok();
    let shown = store.mica(&["inspect", "-f", "{{json .HostConfig.StorageOpt}}", &id]).ok();
    assert_eq!(shown, "{\"size\":\"8388608\"}");
    for _ in 0..2 {
        store.mica(&["start", "-a", &id]).fails(1, "Disk quota exceeded");
    }
    store.mica(&["commit", &id, "full"]).ok();
    store.mica(&["run", "--rm", "full", "sh", "-c", fill]).ok();
    store.mica(&["rm", &id]).ok();
    store.mica(&["rmi", "full"]).ok();
    store.mica(&["system", "prune", "-f"]).ok();
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
}

fn files(store: &Store) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in ["root/containers", "root/drivers", "run/containers"].map(|name| store.path(name)) {
        for entry in fs_err::read_dir(&folder).into_iter().flatten().flatten() {
            let below = fs_err::read_dir(entry.path()).into_iter().flatten().flatten();
            found.extend(below.flat_map(|entry| {
                fs_err::read_dir(entry.path()).into_iter().flatten().flatten().map(|entry| entry.path())
            }));
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
