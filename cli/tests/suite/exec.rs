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
    ];
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
    store.mica(&["stop", "-t", "0", "cc"]).ok();
    store.mica(&["exec", "cc", "true"]).fails(1, "is not running");
}
