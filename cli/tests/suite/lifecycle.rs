//! Containers from `create` to `rm`.

use crate::support::{Store, until};

#[test]
fn privileged_from_create_to_remove() {
    let Some(store) = Store::with_base() else { return };
    let id = store.mica(&["create", "--name", "c", "base", "sh", "-c", "echo one; echo two >&2; exit 5"]).ok();
    assert_eq!(id.len(), 64);
    assert_eq!(store.mica(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).ok(), "c Created");
    assert_eq!(store.mica(&["start", "c"]).ok(), "c");
    assert_eq!(store.mica(&["wait", "c"]).ok(), "5");
    let logs = store.mica(&["logs", "c"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\n", "two\n"));
    let done = store.mica(&["start", "-a", "c"]);
    assert_eq!((done.code, done.stdout.as_str()), (5, "one\n"));
    assert_eq!(
        store.mica(&["logs", "-n", "1", "c"]).stdout.lines().count()
            + store.mica(&["logs", "-n", "1", "c"]).stderr.lines().count(),
        1
    );
    assert!(store.mica(&["logs", "-t", "c"]).stdout.contains("Z one"));
    assert_eq!(store.mica(&["rename", "c", "d"]).ok(), "");
    assert_eq!(store.mica(&["rm", "d"]).ok(), "d");
    store.mica(&["rm", "d"]).fails(1, "No such container: d");
    assert_eq!(store.mica(&["rm", "-f", "d"]).code, 0, "with force, what is gone is fine");
}

#[test]
fn privileged_background_stop_kill_and_restart() {
    let Some(store) = Store::with_base() else { return };
    let id = store.background(&[
        "--name",
        "c",
        "base",
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    until("the first line", || store.mica(&["logs", "c"]).stdout == "up\n");
    assert_eq!(store.mica(&["ps", "-q"]).ok(), id[..12]);
    assert_eq!(store.mica(&["ps", "-q", "--no-trunc"]).ok(), id);
    assert!(store.mica(&["ps", "--format", "{{.Status}}"]).ok().starts_with("Up "));
    store.mica(&["rm", "c"]).fails(1, "running");
    assert_eq!(store.mica(&["stop", "c"]).ok(), "c");
    assert_eq!(store.mica(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "c"]).ok(), "exited 9");
    assert_eq!(store.mica(&["stop", "c"]).ok(), "c", "stopping twice is fine");
    store.mica(&["kill", "c"]).fails(1, "is not running");
    assert_eq!(store.mica(&["restart", "c"]).ok(), "c");
    assert_eq!(store.mica(&["kill", "-s", "KILL", &id[..6]]).ok(), id[..6]);
    assert_eq!(store.mica(&["wait", "c"]).ok(), "137");
    assert_eq!(store.mica(&["rm", "c", "nothere"]).code, 1);
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
    store.mica(&["create", "--name", "a", "--label", "x=1", "base", "echo", "a long command line that is cut"]).ok();
    store.mica(&["create", "--name", "b", "--label", "x=2", "base"]).ok();
    store.mica(&["run", "--name", "c", "base", "false"]);
    let names = |line: &[&str]| {
        let mut all = vec!["ps", "-a", "--format", "{{.Names}}"];
        all.extend(line);
        store.mica(&all).ok().split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[]), "c b a");
    assert_eq!(names(&["--filter", "label=x=1"]), "a");
    assert_eq!(names(&["--filter", "label=x"]), "b a");
    assert_eq!(names(&["--filter", "status=exited"]), "c");
    assert_eq!(names(&["--filter", "status=created", "--filter", "name=b"]), "b");
    assert_eq!(names(&["--filter", "exited=1"]), "c");
    assert_eq!(names(&["-n", "2"]), "c b");
    assert_eq!(names(&["-l"]), "c");
    store.mica(&["ps", "--filter", "colour=red"]).fails(1, "colour");
    let table = store.mica(&["ps", "-a"]).ok();
    let heading: Vec<&str> =
        table.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(heading, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    assert!(table.contains("\"echo a long comman…\""), "{table}");
    assert_eq!(
        store
            .mica(&["ps", "-a", "--filter", "name=a", "--format", "{{.Label \"x\"}} {{.Labels}}"])
            .ok()
            .split(' ')
            .next(),
        Some("1")
    );
    let json = store.mica(&["ps", "-a", "--filter", "name=a", "--format", "json"]).ok();
    assert!(json.contains("\"Names\":\"a\"") && !json.contains("\"Label\":"), "{json}");
    assert_eq!(
        store.mica(&["container", "ls", "-a", "--format", "table {{.Names}}\\t{{.State}}"]).ok().lines().next(),
        Some("NAMES     STATE")
    );
}

#[test]
fn privileged_prune_removes_what_does_not_run() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["create", "--name", "a", "base"]).ok();
    store.background(&["--name", "b", "base", "sleep", "600"]);
    let asked = store.mica_with(&["container", "prune"], b"n\n");
    assert!(asked.code == 0 && asked.stdout.contains("Are you sure"), "{asked:#?}");
    let pruned = store.mica(&["container", "prune", "-f"]).ok();
    assert!(pruned.starts_with("Deleted Containers:\n") && pruned.contains("Total reclaimed space: "), "{pruned}");
    assert_eq!(store.mica(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "b");
}

#[test]
fn privileged_logs_follow_until_the_end() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "c", "base", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"]);
    assert_eq!(store.mica(&["logs", "-f", "c"]).ok(), "1\n2\n3");
    store.mica(&["logs", "nothere"]).fails(1, "No such container: nothere");
}
