//! Log drivers and what their options put beside each line.

use crate::support::{Store, until};

#[test]
fn privileged_labels_variables_and_tags_stand_beside_each_line() {
    let Some(store) = Store::with_base() else { return };
    let options =
        ["--log-opt", "labels=tier,none", "--log-opt", "env=WHO", "--log-opt", "tag={{.Name}}/{{.ImageName}}"];
    let rest = ["--label", "tier=front end", "-e", "WHO=me", "--name", "cc", "base", "echo", "out"];
    assert_eq!(store.mica(&[&["run"][..], &options, &rest].concat()).ok(), "out");
    assert_eq!(store.mica(&["logs", "cc"]).ok(), "out");
    assert_eq!(store.mica(&["logs", "--details", "cc"]).ok(), "WHO=me,tag=cc%2Fbase,tier=front+end out");
    let path = store.mica(&["inspect", "-f", "{{.LogPath}}", "cc"]).ok();
    let text = fs_err::read_to_string(path).expect("a log");
    assert!(text.contains(r#","attrs":{"WHO":"me","tag":"cc/base","tier":"front end"},"time":"#), "{text}");
    let shown = store.mica(&["inspect", "-f", "{{.HostConfig.LogConfig.Config.env}}", "cc"]).ok();
    assert_eq!(shown, "WHO");
}

#[test]
fn privileged_drivers_keep_bounded_files_the_journal_or_nothing() {
    let Some(store) = Store::with_base() else { return };
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
    let flags = ["--log-driver", "local", "--log-opt", "max-size=20k", "--log-opt", "max-file=3"];
    store.mica(&[&["run"][..], &flags, &["--name", "cc", "base", "sh", "-c", script]].concat()).ok();
    let kept = store.mica(&["logs", "cc"]).ok();
    assert!(kept.ends_with("\nline 2999") && !kept.contains("line 0\n"), "{}", kept.len());
    let shown = "{{.HostConfig.LogConfig.Type}}";
    assert_eq!(store.mica(&["inspect", "-f", shown, "cc"]).ok(), "local");
    store.mica(&["run", "--log-driver", "none", "--name", "nn", "base", "echo", "out"]).ok();
    store.mica(&["logs", "nn"]).fails(1, "configured logging driver does not support reading");
    store.mica(&["run", "--log-driver", "syslog", "base"]).fails(125, "`journald`");
    store.mica(&["run", "--log-driver", "journald", "--log-opt", "max-size=1m", "base"]).fails(125, "max-size");
    let journal = std::path::Path::new("/run/systemd/journal/socket").exists();
    let done = store.mica(&["run", "--log-driver", "journald", "--name", "jj", "base", "echo", "out"]);
    if journal {
        assert_eq!(done.ok(), "out");
        store.mica(&["logs", "jj"]).fails(1, "journalctl CONTAINER_ID_FULL=");
    } else {
        done.fails(125, "journald is not enabled on this host");
    }
}

#[test]
fn privileged_rotated_files_are_compressed_and_read_again() {
    let Some(store) = Store::with_base() else { return };
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
    let wanted: Vec<String> = (0..3000).map(|number| format!("line {number}")).collect();
    for (driver, more) in [("json-file", &["--log-opt", "compress=true"][..]), ("local", &[])] {
        let flags = ["--log-driver", driver, "--log-opt", "max-size=20k", "--log-opt", "max-file=40"];
        store.mica(&[&["create"][..], &flags, more, &["--name", "cc", "base", "sh", "-c", script]].concat()).ok();
        store.mica(&["start", "cc"]).ok();
        assert!(store.mica(&["logs", "-f", "cc"]).ok().lines().eq(wanted.iter().map(String::as_str)), "{driver}");
        store.mica(&["wait", "cc"]).ok();
        assert!(store.mica(&["logs", "cc"]).ok().lines().eq(wanted.iter().map(String::as_str)), "{driver}");
        assert_eq!(store.mica(&["logs", "--tail", "700", "cc"]).ok().lines().count(), 700);
        let id = store.mica(&["inspect", "-f", "{{.Id}}", "cc"]).ok();
        let folder = store.path("root/containers").join(id);
        let names: Vec<String> = fs_err::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("-json.log"))
            .collect();
        let packed = names.iter().filter(|name| name.ends_with(".gz")).count();
        assert!(packed > 5 && packed + 1 == names.len(), "{names:?}");
        store.mica(&["rm", "cc"]).ok();
    }
    store.mica(&["run", "--log-opt", "compress=true", "base"]).fails(125, "max-file is less than 2");
    store.mica(&["run", "--log-opt", "max-buffer-size=1m", "base"]).fails(125, "mode=non-blocking");
    let described = ["--log-opt", "labels-regex=^org\\.", "--log-opt", "env-regex=^W"];
    let rest = ["--label", "org.test=1", "--label", "other=2", "-e", "WHO=me", "--name", "cc", "base", "echo", "out"];
    store.mica(&[&["run"][..], &described, &rest].concat()).ok();
    assert_eq!(store.mica(&["logs", "--details", "cc"]).ok(), "WHO=me,org.test=1 out");
}

#[test]
fn privileged_followers_see_restarts_and_rotations() {
    let Some(store) = Store::with_base() else { return };
    let script = "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; exit 1";
    let flags = ["--restart", "on-failure:2", "--log-opt", "max-size=20k", "--log-opt", "max-file=50"];
    store.mica(&[&["create"][..], &flags, &["--name", "cc", "base", "sh", "-c", script]].concat()).ok();
    store.mica(&["start", "cc"]).ok();
    let followed = store.mica(&["logs", "-f", "cc"]).ok();
    let wanted: Vec<String> = (0..3).flat_map(|_| (0..1000).map(|number| format!("line {number}"))).collect();
    assert!(followed.lines().eq(wanted.iter().map(String::as_str)), "{} lines", followed.lines().count());
    until("the end", || store.mica(&["inspect", "-f", "{{.State.Status}}", "cc"]).ok() == "exited");
}

#[test]
fn privileged_input_ends_for_the_process_too() {
    let Some(store) = Store::with_base() else { return };
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(300_000).collect();
    for flags in [&["run", "-i", "--rm", "base"][..], &["exec", "-i", "cc"]] {
        if flags.contains(&"cc") {
            store.background(&["--name", "cc", "base", "sleep", "600"]);
        }
        let done = store.mica_with(&[flags, &["cat"]].concat(), &bytes);
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(done.bytes == bytes, "{flags:?} changed the bytes");
        let counted = store.mica_with(&[flags, &["sh", "-c", "wc -c; exit 7"]].concat(), &bytes);
        assert_eq!((counted.code, counted.stdout.trim()), (7, "300000"), "{flags:?}");
    }
}
