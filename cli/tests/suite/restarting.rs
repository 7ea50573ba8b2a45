//! Restart policies: who is started again, when that ends, and what is shown meanwhile.

use rustix::process::{Pid, Signal};

use crate::support::{Store, until};

fn inspect(store: &Store, template: &str) -> String {
    store.mica(&["inspect", "-f", template, "cc"]).ok()
}

fn ends(store: &Store) {
    until("the last end", || inspect(store, "{{.State.Status}}") == "exited");
}

#[test]
fn privileged_a_failing_container_is_started_again_so_often() {
    let Some(store) = Store::with_base() else { return };
    for (flags, end) in [(&[][..], "\n"), (&["-t"][..], "\r\n"), (&["--runtime", "runc"][..], "\n")] {
        if flags.contains(&"runc") && std::process::Command::new("runc").arg("--version").output().is_err() {
            crate::support::skip("runc is not installed");
            continue;
        }
        let command = ["--restart", "on-failure:2", "--name", "cc", "base", "sh", "-c", "echo run; exit 3"];
        store.background(&[flags, &command].concat());
        ends(&store);
        let state = "{{.RestartCount}} {{.State.ExitCode}} {{.State.Restarting}}";
        assert_eq!(inspect(&store, state), "2 3 false", "{flags:?}");
        assert_eq!(store.mica(&["logs", "cc"]).stdout, format!("run{end}").repeat(3));
        // Somebody who starts it gives it all its chances again.
        store.mica(&["start", "cc"]).ok();
        ends(&store);
        assert_eq!(inspect(&store, state), "2 3 false");
        assert_eq!(store.mica(&["logs", "cc"]).stdout, format!("run{end}").repeat(6));
        let policy = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
        assert_eq!(inspect(&store, policy), "on-failure 2");
        store.mica(&["rm", "cc"]).ok();
    }
    store.background(&["--restart", "on-failure", "--name", "cc", "base", "true"]);
    ends(&store);
    assert_eq!(inspect(&store, "{{.RestartCount}}"), "0", "it did not fail");
}

#[test]
fn privileged_what_is_stopped_by_hand_stays_so() {
    let Some(store) = Store::with_base() else { return };
    let script = "trap 'exit 4' USR1; echo up; while :; do sleep 0.05; done";
    store.background(&["--restart", "always", "--name", "cc", "base", "sh", "-c", script]);
    for count in 1..=2 {
        until("the process to be up", || store.mica(&["logs", "cc"]).stdout == "up\n".repeat(count));
        store.mica(&["kill", "-s", "USR1", "cc"]).ok();
        until("the next process", || inspect(&store, "{{.RestartCount}}") == count.to_string());
    }
    until("the process to be up", || store.mica(&["logs", "cc"]).stdout == "up\n".repeat(3));
    store.mica(&["stop", "-t", "0", "cc"]).ok();
    assert_eq!(inspect(&store, "{{.State.Status}} {{.RestartCount}}"), "exited 2");
    store.mica(&["start", "cc"]).ok();
    store.mica(&["kill", "cc"]).ok();
    assert_eq!(store.mica(&["wait", "cc"]).ok(), "137");
    ends(&store);
}

#[test]
fn privileged_between_two_processes_a_container_restarts() {
    let Some(store) = Store::with_base() else { return };
    let start = || {
        store.background(&["--restart", "always", "--name", "cc", "base", "false"]);
        until("a pause", || store.mica(&["ps", "--format", "{{.Status}}"]).ok().starts_with("Restarting (1) "));
    };
    start();
    assert_eq!(store.mica(&["ps", "-q", "--filter", "status=restarting"]).stdout.lines().count(), 1);
    store.mica(&["rm", "cc"]).fails(1, "cannot remove container");
    // Each of these meets a pause or, rarely, a process that has not ended yet.
    assert_ne!(store.mica(&["exec", "cc", "nothere"]).code, 0);
    assert_eq!(store.mica(&["wait", "cc"]).ok(), "1", "the next end");
    store.mica(&["stop", "cc"]).ok();
    assert_eq!(inspect(&store, "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}"), "exited 1 0");
    store.mica(&["rm", "cc"]).ok();
    start();
    store.mica(&["rm", "-f", "cc"]).ok();
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "");
}

#[test]
fn privileged_a_client_sees_the_first_end_and_the_container_goes_on() {
    let Some(store) = Store::with_base() else { return };
    let done = store.mica(&["run", "--restart", "always", "--name", "cc", "base", "sh", "-c", "echo out; exit 7"]);
    assert_eq!((done.code, done.stdout.as_str()), (7, "out\n"), "{done:#?}");
    until("another process", || inspect(&store, "{{.RestartCount}}") != "0");
    store.mica(&["stop", "-t", "0", "cc"]).ok();
    store.mica(&["run", "--rm", "--restart", "always", "base", "true"]).fails(125, "`--restart` and `--rm`");
    store.mica(&["run", "--restart", "never", "base", "true"]).fails(125, "unknown policy `never`");
}

#[test]
fn privileged_a_program_that_is_gone_ends_the_restarts() {
    let Some(store) = Store::with_base() else { return };
    let script = "rm /bin/sh; exit 1";
    store.background(&["--restart", "always", "--name", "cc", "base", "/bin/sh", "-c", script]);
    ends(&store);
    assert_eq!(inspect(&store, "{{.State.ExitCode}}"), "127");
    assert!(inspect(&store, "{{.State.Error}}").contains("cannot start it again"));
}

#[test]
fn privileged_a_boot_starts_what_its_policy_says() {
    let Some(store) = Store::with_base() else { return };
    let policies = ["no", "on-failure", "always", "unless-stopped"];
    for policy in policies {
        store.background(&["--restart", policy, "--name", policy, "base", "sleep", "600"]);
        store.background(&["--restart", policy, "--name", &format!("stopped-{policy}"), "base", "sleep", "600"]);
        store.mica(&["create", "--restart", policy, "--name", &format!("created-{policy}"), "base"]).ok();
    }
    for policy in policies {
        store.mica(&["stop", "-t", "0", &format!("stopped-{policy}")]).ok();
        // What the power does to a machine.
        let pid = store.mica(&["inspect", "-f", "{{.State.Pid}}", policy]).ok();
        let status = fs_err::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
        let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim().to_owned();
        let monitor = Pid::from_raw(monitor.parse().expect("a number")).expect("a process");
        rustix::process::kill_process(monitor, Signal::KILL).expect("the monitor lives");
        until("the end", || !fs_err::exists(format!("/proc/{pid}")).unwrap_or(false));
    }
    assert_eq!(store.mica(&["ps", "-q"]).ok(), "");
    let exited = store.mica(&["ps", "-a", "--filter", "exited=137", "--format", "{{.Names}}"]).ok();
    assert_eq!(exited.lines().count(), 8, "{exited}");
    let started = store.mica(&["start", "--at-boot"]).ok();
    assert_eq!(started.lines().collect::<Vec<_>>(), ["always", "stopped-always", "unless-stopped"]);
    assert_eq!(store.mica(&["ps", "-q"]).ok().lines().count(), 3);
    assert_eq!(store.mica(&["start", "--at-boot"]).ok(), "", "they run");
    let unit = store.mica(&["generate", "systemd"]).ok();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    assert!(start.starts_with(env!("CARGO_BIN_EXE_mica")) && start.ends_with(" start --at-boot"), "{start}");
    let unit = store.mica(&["generate", "systemd", "always"]).ok();
    assert!(unit.contains(" start --attach always\n"), "{unit}");
}

#[test]
fn privileged_a_monitor_that_is_told_to_end_starts_nothing_again() {
    let Some(store) = Store::with_base() else { return };
    let script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done";
    store.background(&["--restart", "unless-stopped", "--name", "cc", "base", "sh", "-c", script]);
    until("the process to be up", || store.mica(&["logs", "cc"]).stdout == "up\n");
    let pid = inspect(&store, "{{.State.Pid}}");
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim().to_owned();
    let monitor = Pid::from_raw(monitor.parse().expect("a number")).expect("a process");
    rustix::process::kill_process(monitor, Signal::TERM).expect("the monitor lives");
    ends(&store);
    assert_eq!(inspect(&store, "{{.State.ExitCode}} {{.RestartCount}}"), "5 0");
    assert_eq!(store.mica(&["start", "--at-boot"]).ok(), "cc", "nobody stopped it by hand");
}
