//! Health checks: made by the monitor, shown by listings, and told apart from the container's own doings.

use serde_json::Value;

use crate::support::{Store, until};

fn health(store: &Store) -> Value {
    let text = store.mica(&["inspect", "-f", "{{json .State.Health}}", "cc"]).ok();
    serde_json::from_str(&text).expect("JSON")
}

fn status(store: &Store) -> String {
    store.mica(&["ps", "-a", "--format", "{{.Status}}"]).ok()
}

/// With a check every few milliseconds a test need not wait.
const OFTEN: [&str; 4] = ["--health-interval", "20ms", "--health-retries", "2"];

#[test]
fn privileged_a_container_becomes_healthy_unhealthy_and_healthy_again() {
    let Some(store) = Store::with_base() else { return };
    for runtime in [&[][..], &["--runtime", "runc"][..]] {
        if !runtime.is_empty() && std::process::Command::new("runc").arg("--version").output().is_err() {
            crate::support::skip("runc is not installed");
            continue;
        }
        let check = ["--health-cmd", "echo said by $(id -u) in $(pwd); test -e /data/good", "-w", "/data"];
        let rest = ["--name", "cc", "base", "sleep", "600"];
        store.background(&[runtime, &OFTEN, &check, &rest].concat());
        until("two failures", || status(&store).ends_with(" (unhealthy)"));
        let seen = health(&store);
        assert_eq!(seen["Status"], "unhealthy");
        assert!(seen["FailingStreak"].as_u64() >= Some(2), "{seen}");
        let last = seen["Log"].as_array().and_then(|log| log.last()).expect("a result").clone();
        assert_eq!((last["ExitCode"].as_i64(), last["Output"].as_str()), (Some(1), Some("said by 0 in /data\n")));
        assert_eq!(store.mica(&["ps", "-q", "--filter", "health=unhealthy"]).stdout.lines().count(), 1);
        assert_eq!(store.mica(&["ps", "-q", "--filter", "health=none"]).ok(), "");
        store.mica(&["exec", "cc", "touch", "good"]).ok();
        until("a success", || status(&store).ends_with(" (healthy)"));
        assert_eq!(health(&store)["FailingStreak"], 0);
        until("enough results", || health(&store)["Log"].as_array().is_some_and(|log| log.len() == 5));
        store.mica(&["rm", "-f", "cc"]).ok();
    }
}

#[test]
fn privileged_checks_that_say_too_much_hang_or_are_not_there() {
    let Some(store) = Store::with_base() else { return };
    let result = |command: &str, flags: &[&str]| {
        let rest = ["--health-cmd", command, "--name", "cc", "base", "sleep", "600"];
        store.background(&[&OFTEN[..], flags, &rest].concat());
        until("a result", || health(&store)["Log"].as_array().is_some_and(|log| !log.is_empty()));
        let log = health(&store)["Log"][0].clone();
        store.mica(&["rm", "-f", "cc"]).ok();
        (log["ExitCode"].as_i64().expect("a code"), log["Output"].as_str().expect("text").to_owned())
    };
    let (code, output) = result("yes | head -c 9000", &[]);
    assert_eq!((code, output.len()), (0, 4096 + 3), "the dots say that it was cut");
    let (code, output) = result("echo begun; sleep 600", &["--health-timeout", "300ms"]);
    assert_eq!((code, output.as_str()), (-1, "Health check exceeded timeout (300ms): begun\n"));
    let (code, _) = result("nothere", &[]);
    assert_eq!(code, 127);
    let (code, output) = result("echo out; echo err >&2; kill -9 $$", &[]);
    assert_eq!(code, 137);
    assert!(output.contains("out\n") && output.contains("err\n"), "{output}");
}

#[test]
fn privileged_during_the_start_failures_do_not_count() {
    let Some(store) = Store::with_base() else { return };
    let flags = ["--health-start-period", "1h", "--health-start-interval", "20ms", "--health-interval", "1h"];
    let rest = ["--health-cmd", "test -e /data/good", "--name", "cc", "base", "sleep", "600"];
    store.background(&[&flags[..], &rest].concat());
    until("five results", || health(&store)["Log"].as_array().is_some_and(|log| log.len() == 5));
    assert!(status(&store).ends_with(" (health: starting)"), "{}", status(&store));
    assert_eq!(health(&store)["FailingStreak"], 0);
    store.mica(&["exec", "cc", "touch", "/data/good"]).ok();
    until("a success", || status(&store).ends_with(" (healthy)"));
}

#[test]
fn privileged_an_image_says_how_it_is_checked() {
    let Some(store) = Store::with_base() else { return };
    let dockerfile =
        "FROM base\nHEALTHCHECK --interval=20ms --retries=1 CMD [\"test\", \"-e\", \"/data/good\"]\nCMD sleep 600\n";
    store.mica_with(&["build", "-q", "-t", "checked", "-"], dockerfile.as_bytes()).ok();
    store.background(&["--name", "cc", "checked"]);
    until("a failure", || status(&store).ends_with(" (unhealthy)"));
    store.mica(&["rm", "-f", "cc"]).ok();
    store.background(&["--name", "cc", "--no-healthcheck", "checked"]);
    assert_eq!(health(&store), Value::Null);
    assert!(!status(&store).contains("health"), "{}", status(&store));
    let test = store.mica(&["inspect", "-f", "{{json .Config.Healthcheck.Test}}", "cc"]).ok();
    assert_eq!(test, "[\"NONE\"]");
    store.mica(&["run", "--health-interval", "fast", "base"]).fails(125, "invalid duration `fast`");
    store.mica(&["run", "--health-interval", "1us", "--health-cmd", "x", "base"]).fails(125, "less than 1ms");
    store.mica(&["run", "--no-healthcheck", "--health-cmd", "x", "base"]).fails(125, "--health-cmd");
}

#[test]
fn privileged_the_monitor_answers_while_a_check_hangs() {
    let Some(store) = Store::with_base() else { return };
    let check = "touch /data/began; sleep 600";
    store.background(&[&OFTEN[..], &["--health-cmd", check, "--name", "cc", "base", "sleep", "600"]].concat());
    until("the check", || store.mica(&["exec", "cc", "test", "-e", "/data/began"]).code == 0);
    assert_eq!(store.mica(&["exec", "cc", "echo", "here"]).ok(), "here");
    assert!(status(&store).ends_with(" (health: starting)"));
    store.mica(&["stop", "-t", "0", "cc"]).ok();
    assert!(status(&store).starts_with("Exited (137)"), "{}", status(&store));
}
