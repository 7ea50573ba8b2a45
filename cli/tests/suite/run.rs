//! `run`: exit codes, streams, and what flags do inside the container.

use std::io::Read;
use std::process::Stdio;

use crate::support::{Store, signal, until};

#[test]
fn privileged_exit_codes() {
    let Some(store) = Store::with_base() else { return };
    let cases: &[(&[&str], i32)] = &[
        (&["true"], 0),
        (&["false"], 1),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "kill -9 $$; exit 4"], 4),
        (&["sh", "-c", "(sleep 60 & kill -15 $!; wait $!)"], 143),
        (&["/does/not/exist"], 127),
        (&["does-not-exist"], 127),
        (&["/not-executable"], 126),
        (&["/etc"], 126),
    ];
    for (command, code) in cases {
        let mut line = vec!["run", "--rm", "base"];
        line.extend(*command);
        let done = store.mica(&line);
        assert_eq!(done.code, *code, "{command:?}: {done:#?}");
    }
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "", "`--rm` leaves nothing, also when the command could not start");
}

#[test]
fn privileged_engine_errors_are_125_in_words_that_scripts_look_for() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["run", "nothere"]).fails(125, "Unable to find image 'nothere:latest' locally");
    store.mica(&["run", "--pull", "never", "nothere:1"]).fails(125, "nothere:1");
    store.mica(&["run", "-v", "rel/path:/x", "base"]).fails(125, "rel/path");
    store.background(&["--name", "one", "base", "sleep", "600"]);
    store.mica(&["run", "--name", "one", "base", "true"]).fails(125, "is already in use");
}

#[test]
fn privileged_streams_are_separate_and_binary_clean() {
    let Some(store) = Store::with_base() else { return };
    let done = store.mica(&["run", "--rm", "base", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "out\n", "err\n"));
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let done = store.mica_with(&["run", "--rm", "-i", "base", "cat"], &bytes);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.bytes == bytes, "{} bytes of {} came back", done.bytes.len(), bytes.len());
    let done = store.mica_with(&["run", "--rm", "base", "cat"], b"unread");
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "without `-i` the input is nobody's");
    let done = store.mica(&["run", "--rm", "-a", "stderr", "base", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", "err\n"));
}

#[test]
fn privileged_flags_reach_the_process() {
    let Some(store) = Store::with_base() else { return };
    fs_err::write(store.path("env"), "FROM_FILE=1\nBOTH=file\n").expect("written");
    fs_err::create_dir(store.path("bind")).expect("a folder");
    fs_err::write(store.path("bind/file"), "from the host\n").expect("written");
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&["-e", "A=1 2"], &["sh", "-c", "echo $A"], "1 2"),
        (&["--env-file", "env", "-e", "BOTH=flag"], &["sh", "-c", "echo $FROM_FILE $BOTH"], "1 flag"),
        (&["-w", "/data"], &["pwd"], "/data"),
        (&["-w", "/made/for/it"], &["pwd"], "/made/for/it"),
        (&["-u", "user"], &["id", "-u"], "1000"),
        (&["-u", "7:8"], &["sh", "-c", "id -u; id -g"], "7\n8"),
        (&["--hostname", "box"], &["hostname"], "box"),
        (&["--entrypoint", "echo"], &["x"], "x"),
        (&["-v", "./bind:/mnt"], &["cat", "/mnt/file"], "from the host"),
        (&["-v", "./bind:/mnt:ro"], &["sh", "-c", "touch /mnt/x 2>/dev/null || echo refused"], "refused"),
        (&["--mount", "type=tmpfs,target=/mem"], &["sh", "-c", "grep -c ' /mem tmpfs' /proc/mounts"], "1"),
        (&["--tmpfs", "/mem:size=1m"], &["sh", "-c", "grep -c ' /mem tmpfs .*size=1024k' /proc/mounts"], "1"),
        (&["--read-only"], &["sh", "-c", "touch /x 2>/dev/null || echo refused"], "refused"),
        (&["--network", "none"], &["sh", "-c", "ls /sys/class/net"], "lo"),
        (&["--cap-drop", "ALL"], &["grep", "CapEff", "/proc/self/status"], "CapEff:\t0000000000000000"),
        (&["--security-opt", "no-new-privileges"], &["grep", "NoNewPrivs", "/proc/self/status"], "NoNewPrivs:\t1"),
        (&["--ulimit", "nofile=64:128"], &["sh", "-c", "ulimit -n; ulimit -Hn"], "64\n128"),
        (&["--add-host", "name:1.2.3.4"], &["grep", "-c", "1.2.3.4.*name", "/etc/hosts"], "1"),
        (&["--init"], &["sh", "-c", "test $$ != 1 && echo not the first"], "not the first"),
        (&["--label", "a=b", "-q"], &["true"], ""),
    ];
    for (flags, command, expected) in cases {
        let mut line = vec!["run", "--rm"];
        line.extend(*flags);
        line.push("base");
        line.extend(*command);
        let done = store.mica(&line);
        assert_eq!((done.code, done.stdout.trim_end()), (0, *expected), "{flags:?} {command:?}: {}", done.stderr);
    }
}

#[test]
fn privileged_cidfile_holds_the_id_and_is_never_overwritten() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["run", "--cidfile", "cid", "--name", "cc", "base", "true"]).ok();
    let id = fs_err::read_to_string(store.path("cid")).expect("the file");
    assert_eq!(store.mica(&["inspect", "-f", "{{.Id}}", "cc"]).ok(), id);
    store.mica(&["run", "--cidfile", "cid", "base", "true"]).fails(125, "container ID file found");
}

#[test]
fn privileged_signals_reach_the_container() {
    let Some(store) = Store::with_base() else { return };
    let mut command = store.command(&[
        "run",
        "--rm",
        "base",
        "sh",
        "-c",
        "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut seen = Vec::new();
    let mut buffer = [0; 64];
    while !seen.ends_with(b"ready\n") {
        let count = stdout.read(&mut buffer).expect("output");
        assert!(count > 0, "{seen:?}");
        seen.extend_from_slice(&buffer[..count]);
    }
    signal(&child, rustix::process::Signal::TERM);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("output");
    assert_eq!((child.wait().expect("an end").code(), rest.as_str()), (Some(7), "caught\n"));
}

#[test]
fn privileged_a_closed_pipe_ends_the_run() {
    let Some(store) = Store::with_base() else { return };
    let mut child = store
        .command(&["run", "--rm", "--name", "noisy", "base", "yes"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0; 16]).expect("output");
    drop(stdout);
    assert_eq!(child.wait().expect("an end").code(), Some(141));
    until("the container to go", || store.mica(&["ps", "-aq"]).ok().is_empty());
}

#[test]
fn privileged_a_container_without_network_has_a_loopback_that_is_up() {
    let Some(store) = Store::with_base() else { return };
    let flags = store.mica(&["run", "--rm", "--network", "none", "base", "cat", "/sys/class/net/lo/flags"]).ok();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).expect("hexadecimal flags");
    assert_eq!(flags & 1, 1, "IFF_UP is not set in {flags:#x}");
    let interfaces = store.mica(&["run", "--rm", "--network", "none", "base", "ls", "/sys/class/net"]).ok();
    assert_eq!(interfaces.trim(), "lo");
}
