//! Containers from `create` to `rm`.

use crate::support::{Store, until};

#[test]
fn privileged_from_create_to_remove() {
    let Some(store) = Store::with_base() else { return };
    let id = store.mica(&["create", "--name", "cc", "base", "sh", "-c", "echo one; echo two >&2; exit 5"]).ok();
    assert_eq!(id.len(), 64);
    assert_eq!(store.mica(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).ok(), "cc Created");
    assert_eq!(store.mica(&["start", "cc"]).ok(), "cc");
    assert_eq!(store.mica(&["wait", "cc"]).ok(), "5");
    let logs = store.mica(&["logs", "cc"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\n", "two\n"));
    let done = store.mica(&["start", "-a", "cc"]);
    assert_eq!((done.code, done.stdout.as_str()), (5, "one\n"));
    assert_eq!(
        store.mica(&["logs", "-n", "1", "cc"]).stdout.lines().count()
            + store.mica(&["logs", "-n", "1", "cc"]).stderr.lines().count(),
        1
    );
    assert!(store.mica(&["logs", "-t", "cc"]).stdout.contains("Z one"));
    assert_eq!(store.mica(&["rename", "cc", "dd"]).ok(), "");
    assert_eq!(store.mica(&["rm", "dd"]).ok(), "dd");
    store.mica(&["rm", "dd"]).fails(1, "No such container: dd");
    assert_eq!(store.mica(&["rm", "-f", "dd"]).code, 0, "with force, what is gone is fine");
}

#[test]
fn privileged_background_stop_kill_and_restart() {
    let Some(store) = Store::with_base() else { return };
    let id = store.background(&[
        "--name",
        "cc",
        "base",
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    until("the first line", || store.mica(&["logs", "cc"]).stdout == "up\n");
    assert_eq!(store.mica(&["ps", "-q"]).ok(), id[..12]);
    assert_eq!(store.mica(&["ps", "-q", "--no-trunc"]).ok(), id);
    assert!(store.mica(&["ps", "--format", "{{.Status}}"]).ok().starts_with("Up "));
    store.mica(&["rm", "cc"]).fails(1, "running");
    assert_eq!(store.mica(&["stop", "cc"]).ok(), "cc");
    assert_eq!(store.mica(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "cc"]).ok(), "exited 9");
    assert_eq!(store.mica(&["stop", "cc"]).ok(), "cc", "stopping twice is fine");
    store.mica(&["kill", "cc"]).fails(1, "is not running");
    assert_eq!(store.mica(&["restart", "cc"]).ok(), "cc");
    assert_eq!(store.mica(&["kill", "-s", "KILL", &id[..6]]).ok(), id[..6]);
    assert_eq!(store.mica(&["wait", "cc"]).ok(), "137");
    assert_eq!(store.mica(&["rm", "cc", "nothere"]).code, 1);
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "", "one that fails does not keep the others");
}

#[test]
fn privileged_a_detached_container_with_rm_goes_by_itself() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--rm", "base", "true"]);
    until("the container to go", || store.mica(&["ps", "-aq"]).ok().is_empty());
}

#[test]
fn privileged_listings_filter_and_format() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["create", "--name", "aa", "--label", "x=1", "base", "echo", "a long command line that is cut"]).ok();
    store.mica(&["create", "--name", "bb", "--label", "x=2", "base"]).ok();
    store.mica(&["run", "--name", "cc", "base", "false"]);
    let names = |line: &[&str]| {
        let mut all = vec!["ps", "-a", "--format", "{{.Names}}"];
        all.extend(line);
        store.mica(&all).ok().split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[]), "cc bb aa");
    assert_eq!(names(&["--filter", "label=x=1"]), "aa");
    assert_eq!(names(&["--filter", "label=x"]), "bb aa");
    assert_eq!(names(&["--filter", "status=exited"]), "cc");
    assert_eq!(names(&["--filter", "status=created", "--filter", "name=bb"]), "bb");
    assert_eq!(names(&["--filter", "exited=1"]), "cc");
    assert_eq!(names(&["-n", "2"]), "cc bb");
    assert_eq!(names(&["-l"]), "cc");
    store.mica(&["ps", "--filter", "colour=red"]).fails(1, "colour");
    let table = store.mica(&["ps", "-a"]).ok();
    let heading: Vec<&str> =
        table.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(heading, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    assert!(table.contains("\"echo 'a long comman…\""), "{table}");
    assert_eq!(
        store
            .mica(&["ps", "-a", "--filter", "name=aa", "--format", "{{.Label \"x\"}} {{.Labels}}"])
            .ok()
            .split(' ')
            .next(),
        Some("1")
    );
    let json = store.mica(&["ps", "-a", "--filter", "name=aa", "--format", "json"]).ok();
    assert!(json.contains("\"Names\":\"aa\"") && !json.contains("\"Label\":"), "{json}");
    assert_eq!(
        store.mica(&["container", "ls", "-a", "--format", "table {{.Names}}\\t{{.State}}"]).ok().lines().next(),
        Some("NAMES     STATE")
    );
}

#[test]
fn privileged_prune_removes_what_does_not_run() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["create", "--name", "aa", "base"]).ok();
    store.background(&["--name", "bb", "base", "sleep", "600"]);
    let asked = store.mica_with(&["container", "prune"], b"n\n");
    assert!(asked.code == 0 && asked.stdout.contains("Are you sure"), "{asked:#?}");
    store.mica(&["create", "--name", "kept", "--label", "keep", "base"]).ok();
    store.mica(&["container", "prune", "-f", "--filter", "label!=keep", "--filter", "until=0s"]).ok();
    assert_eq!(store.mica(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "kept\nbb");
    store.mica(&["rm", "kept"]).ok();
    store.mica(&["create", "--name", "cc", "base"]).ok();
    let pruned = store.mica(&["container", "prune", "-f"]).ok();
    assert!(pruned.starts_with("Deleted Containers:\n") && pruned.contains("Total reclaimed space: "), "{pruned}");
    assert_eq!(store.mica(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "bb");
}

#[test]
fn privileged_logs_follow_until_the_end() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "cc", "base", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"]);
    assert_eq!(store.mica(&["logs", "-f", "cc"]).ok(), "1\n2\n3");
    store.mica(&["logs", "nothere"]).fails(1, "No such container: nothere");
}
