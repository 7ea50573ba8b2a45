//! `exec`.

use crate::support::{Store, until};

#[test]
fn privileged_commands_in_a_running_container() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "cc", "-e", "KEPT=yes", "base", "sleep", "600"]);
    let cases: &[(&[&str], &[&str], i32, &str)] = &[
        (&[], &["echo", "hello"], 0, "hello"),
        (&[], &["sh", "-c", "exit 4"], 4, ""),
        (&[], &["sh", "-c", "echo $KEPT"], 0, "yes"),
        (&["-e", "A=1"], &["sh", "-c", "echo $A"], 0, "1"),
        (&["-w", "/etc"], &["pwd"], 0, "/etc"),
        (&["-u", "user"], &["id", "-un"], 0, "user"),
        (&[], &["does-not-exist"], 127, ""),
        (&[], &["/not-executable"], 126, ""),
        (&[], &["/etc"], 126, ""),
        (&[], &["sh", "-c", "kill -9 $$"], 137, ""),
        (&["-w", "/nope"], &["pwd"], 126, ""),
        (&["-w", "rel"], &["pwd"], 126, ""),
        // A descriptor of the host's that leaked into the new process would be a way out (CVE-2024-21626).
        (&["-w", "/proc/self/fd/7"], &["pwd"], 126, ""),
        (&["-w", "/proc/self/fd/3/../../.."], &["pwd"], 126, ""),
        (&["-u", "nope"], &["id"], 126, ""),
        (&["-u", "1000:12"], &["id", "-g"], 0, "12"),
        (&["--env-file", "env"], &["sh", "-c", "echo $X $Y"], 0, "1"),
        (&["--privileged"], &["grep", "-c", "CapEff:.000001ff", "/proc/self/status"], 0, "1"),
        // 0, 1, 2, and the one that lists them.
        (&[], &["sh", "-c", "ls /proc/self/fd | wc -l"], 0, "4"),
        (&["-i"], &["sh", "-c", "ls /proc/self/fd | wc -l"], 0, "4"),
    ];
    fs_err::write(store.path("env"), "X=1\n# a remark\nY\n").expect("written");
    for (flags, command, code, expected) in cases {
        let mut line = vec!["exec"];
        line.extend(*flags);
        line.push("cc");
        line.extend(*command);
        let done = store.mica(&line);
        assert_eq!((done.code, done.stdout.trim_end()), (*code, *expected), "{flags:?} {command:?}: {}", done.stderr);
    }
    assert_eq!(store.mica_with(&["exec", "-i", "cc", "cat"], b"through\0it").bytes, b"through\0it");
    store.mica(&["exec", "-d", "cc", "touch", "/made"]).ok();
    until("the detached command", || store.mica(&["exec", "cc", "test", "-e", "/made"]).code == 0);
    store.mica(&["exec", "nothere", "true"]).fails(1, "No such container: nothere");
    store.mica(&["exec", "-d", "cc", "does-not-exist"]).fails(127, "executable file not found in $PATH");
    store.mica(&["exec", "--env-file", "nope", "cc", "true"]).fails(1, "nope");
    store.mica(&["exec", "-it", "cc", "true"]).fails(1, "the input device is not a TTY");
    store.mica(&["stop", "-t", "0", "cc"]).ok();
    store.mica(&["exec", "cc", "true"]).fails(1, "is not running");
}
