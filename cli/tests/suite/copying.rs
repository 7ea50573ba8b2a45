//! `cp`, `diff`, `export`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::Store;

#[test]
fn privileged_files_go_both_ways() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "cc", "base", "sleep", "600"]);
    fs_err::create_dir_all(store.path("folder/below")).expect("folders");
    fs_err::write(store.path("folder/below/file"), "one\n").expect("written");
    fs_err::set_permissions(store.path("folder/below/file"), std::fs::Permissions::from_mode(0o640)).expect("a mode");
    store.mica(&["cp", "folder", "cc:/data"]).ok();
    assert_eq!(store.mica(&["exec", "cc", "cat", "/data/folder/below/file"]).ok(), "one");
    store.mica(&["cp", "folder/.", "cc:/data/contents"]).ok();
    assert_eq!(store.mica(&["exec", "cc", "cat", "/data/contents/below/file"]).ok(), "one");
    store.mica(&["cp", "folder/below/file", "cc:/data/renamed"]).ok();
    assert_eq!(store.mica(&["exec", "cc", "stat", "-c", "%a %u", "/data/renamed"]).ok(), "640 0");
    store.mica(&["cp", "cc:/data/folder/below", "back"]).ok();
    assert_eq!(fs_err::read_to_string(store.path("back/file")).expect("copied"), "one\n");
    assert_eq!(fs_err::metadata(store.path("back/file")).expect("copied").mode() & 0o7777, 0o640);
    let archive = store.mica(&["cp", "cc:/data/folder", "-"]);
    assert_eq!(archive.code, 0, "{}", archive.stderr);
    let names: Vec<_> = tar::Archive::new(archive.bytes.as_slice())
        .entries()
        .expect("an archive")
        .map(|entry| {
            entry.expect("an entry").path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned()
        })
        .collect();
    assert_eq!(names, ["folder", "folder/below", "folder/below/file"]);
    assert_eq!(store.mica_with(&["cp", "-", "cc:/tmp"], &archive.bytes).code, 0);
    assert_eq!(store.mica(&["exec", "cc", "cat", "/tmp/folder/below/file"]).ok(), "one");
    store.mica(&["cp", "cc:/nothere", "x"]).fails(1, "No such container:path: cc:/nothere");
    store.mica(&["cp", "nothere:/x", "x"]).fails(1, "No such container: nothere");
    store.mica(&["stop", "-t", "0", "cc"]).ok();
    store.mica(&["cp", "cc:/data/renamed", "stopped"]).ok();
    assert_eq!(fs_err::read_to_string(store.path("stopped")).expect("copied"), "one\n");
}

/// What Docker 20.10 does with the same files, each line from a fresh pair of trees.
#[test]
fn privileged_copies_end_where_docker_puts_them() {
    let Some(store) = Store::with_base() else { return };
    let tree =
        "mkdir -p d/sub e; echo a > d/a; echo s > d/sub/s; echo f > f; ln -s d ld; ln -s f lf; ln -s nope dangling";
    store.background(&["--name", "cc", "base", "sleep", "600"]);
    store.mica(&["create", "--name", "cs", "base", "sleep", "600"]).ok();
    let sh = |script: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).current_dir(store.path(""));
        crate::support::finish(command, b"").ok()
    };
    // flags and source, target, exit code, what is said, what to look at afterwards, what is there then
    type Line<'a> = (&'a [&'a str], &'a str, i32, &'a str, &'a str, &'a str);
    let into: &[Line<'_>] = &[
        (&["f"], "n", 0, "", "n", "n"),
        (&["f"], "n/", 1, "no such directory", "n", ""),
        (&["f"], "no/n", 1, "No such container:path: cc:/c/no", "no", ""),
        (&["f"], "e", 0, "", "e", "e e/f"),
        (&["f"], "e/", 0, "", "e", "e e/f"),
        (&["f"], "f/", 1, "no such directory", "f", "f"),
        (&["d"], "n", 0, "", "n", "n n/a n/sub n/sub/s"),
        (&["d/"], "n/", 0, "", "n", "n n/a n/sub n/sub/s"),
        (&["d/."], "n", 0, "", "n", "n n/a n/sub n/sub/s"),
        (&["d"], "e", 0, "", "e", "e e/d e/d/a e/d/sub e/d/sub/s"),
        (&["d/."], "e", 0, "", "e", "e e/a e/sub e/sub/s"),
        (&["d"], "f", 1, "cannot copy directory", "f", "f"),
        (&["d/."], "f", 1, "cannot copy directory", "f", "f"),
        (&["ld"], "n", 0, "", "n", "n"),
        (&["-L", "ld"], "n", 0, "", "n", "n n/a n/sub n/sub/s"),
        (&["ld/"], "n", 0, "", "n", "n n/a n/sub n/sub/s"),
        (&["ld/."], "n", 0, "", "n", "n n/a n/sub n/sub/s"),
        (&["dangling"], "n", 0, "", "n", "n"),
        (&["f"], "ld", 0, "", "d", "d d/a d/f d/sub d/sub/s"),
        (&["d/a"], "lf", 0, "", "lf", "lf"),
        (&["f"], "dangling", 0, "", "nope dangling", "dangling nope"),
    ];
    let (folder, found) = (store.path("w"), "2>/dev/null | sort | tr '\\n' ' ' | sed 's/ $//'");
    fs_err::create_dir(&folder).expect("a folder");
    sh(&format!("cd w && {tree}"));
    for (words, target, code, said, look, wanted) in into {
        store.mica(&["exec", "cc", "sh", "-c", &format!("rm -rf /c; mkdir /c; cd /c; {tree}")]).ok();
        let (source, flags) = words.split_last().expect("a source");
        let (source, target) = (format!("w/{source}"), format!("cc:/c/{target}"));
        let mut line = vec!["cp"];
        line.extend(flags);
        line.extend([source.as_str(), target.as_str()]);
        let done = store.mica(&line);
        assert!(done.code == *code && done.stderr.contains(said), "{line:?}: {done:#?}");
        // The base image has no `find`.
        let list = format!("cd /proc/$(cat {}/pid)/root/c && find {look} {found}", folder.display());
        let pid = store.mica(&["inspect", "-f", "{{.State.Pid}}", "cc"]).ok();
        fs_err::write(folder.join("pid"), pid).expect("written");
        assert_eq!(sh(&list), *wanted, "{line:?}");
        if target == "cc:/c/lf" || target == "cc:/c/dangling" {
            let link = format!("/c/{}", target.rsplit('/').next().expect("a name"));
            store.mica(&["exec", "cc", "test", "-h", &link]).ok();
        }
    }
    fs_err::remove_file(folder.join("pid")).expect("removed");
    let out: &[(&[&str], &str, i32, &str, &str)] = &[
        (&["f"], "n", 0, "", "n"),
        (&["f"], "n/", 1, "no such directory", ""),
        (&["f"], "no/n", 1, "invalid output path: directory", ""),
        (&["f"], "e/", 0, "", "e e/f"),
        (&["f"], "f/", 1, "not a directory", ""),
        (&["d"], "n", 0, "", "n n/a n/sub n/sub/s"),
        (&["d/."], "e", 0, "", "e e/a e/sub e/sub/s"),
        (&["d"], "e", 0, "", "e e/d e/d/a e/d/sub e/d/sub/s"),
        (&["d"], "f", 1, "cannot copy directory", ""),
        (&["ld"], "n", 0, "", "n"),
        (&["-L", "ld"], "n", 0, "", "n n/a n/sub n/sub/s"),
        (&["ld/"], "n", 0, "", "n n/a n/sub n/sub/s"),
        (&["nope"], "n", 1, "No such container:path: cc:/c/nope", ""),
    ];
    store.mica(&["exec", "cc", "sh", "-c", &format!("rm -rf /c; mkdir /c; cd /c; {tree}")]).ok();
    for (words, target, code, said, wanted) in out {
        sh(&format!("rm -rf w; mkdir w; cd w; {tree}"));
        let (source, flags) = words.split_last().expect("a source");
        let (source, place) = (format!("cc:/c/{source}"), format!("w/{target}"));
        let mut line = vec!["cp"];
        line.extend(flags);
        line.extend([source.as_str(), place.as_str()]);
        let done = store.mica(&line);
        assert!(done.code == *code && done.stderr.contains(said), "{line:?}: {done:#?}");
        if done.code == 0 {
            assert_eq!(
                sh(&format!("cd w && find {target} {found} | sed 's:/*\\( \\|$\\):\\1:g; s://:/:g'")),
                *wanted,
                "{line:?}"
            );
        }
    }
    for (from, to) in [("cc:/c/d", "cs:/data/d"), ("cs:/data/d", "cc:/c/e"), ("cc:/c/e/d/sub", "cc:/c/again")] {
        store.mica(&["cp", from, to]).ok();
    }
    assert_eq!(store.mica(&["exec", "cc", "cat", "/c/again/s"]).ok(), "s");
    store.mica(&["cp", "-", "cc:/c/f"]).fails(1, "destination \"cc:/c/f\" must be a directory");
}

#[test]
fn privileged_a_stopped_container_has_its_volumes() {
    let Some(store) = Store::with_base() else { return };
    fs_err::create_dir_all(store.path("bound")).expect("a folder");
    fs_err::write(store.path("bound/there"), "bound").expect("written");
    fs_err::write(store.path("file"), "new").expect("written");
    let bind = format!("{}:/data/bound:ro", store.path("bound").display());
    store.mica(&["create", "--name", "cc", "-v", "vol:/data", "-v", &bind, "base", "sleep", "600"]).ok();
    for container in ["never started", "stopped"] {
        store.mica(&["cp", "file", "cc:/data/file"]).ok();
        assert_eq!(fs_err::read_to_string(store.path("root/volumes/vol/_data/file")).expect(container), "new");
        store.mica(&["cp", "cc:/data/bound/there", "back"]).ok();
        assert_eq!(fs_err::read_to_string(store.path("back")).expect(container), "bound");
        store.mica(&["cp", "file", "cc:/data/bound/file"]).fails(1, "Read-only file system");
        store.mica(&["start", "cc"]).ok();
        assert_eq!(store.mica(&["exec", "cc", "cat", "/data/file"]).ok(), "new", "{container}");
        store.mica(&["exec", "cc", "rm", "/data/file"]).ok();
        store.mica(&["stop", "-t", "0", "cc"]).ok();
    }
    assert!(!store.mica(&["diff", "cc"]).ok().contains("file"), "nothing went below the mount points");
}

/// In a mount namespace of its own, because this is what mounts on the host.
#[test]
fn privileged_roots_are_mounted_and_unmounted() {
    let Some(store) = Store::with_base() else { return };
    let script = r#"
        set -e
        "$@" run --name cc base touch /data/written
        place=$("$@" mount cc); ls "$place/data"; echo host > "$place/data/host"
        [ "$("$@" mount | wc -l)" = 1 ]
        "$@" start -a cc; "$@" cp cc:/data/host back; cat back
        "$@" run -d --name running base sleep 600 > /dev/null
        "$@" mount running > /dev/null; [ "$("$@" mount | wc -l)" = 2 ]
        echo 'from the host' > "$("$@" mount running)/data/seen"; "$@" exec running cat /data/seen
        "$@" unmount --all > /dev/null; "$@" mount
        "$@" unmount cc || echo refused
        "$@" mount cc > /dev/null; "$@" rm -f cc running; "$@" mount; grep -c "$PWD" /proc/self/mountinfo || true
    "#;
    let mica = store.command(&[]);
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(mica.get_program()).args(mica.get_args()).env("MICA_CONFIG", "/dev/null").current_dir(store.path(""));
    let said = crate::support::finish(command, b"").ok();
    assert_eq!(said, "written\nhost\nfrom the host\nrefused\ncc\nrunning\n0");
}

#[test]
fn privileged_diff_compares_any_two() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["run", "--name", "one", "base", "touch", "/data/one"]).ok();
    store.mica(&["run", "--name", "two", "base", "touch", "/data/two"]).ok();
    assert_eq!(store.mica(&["diff", "one", "base"]).ok(), "C /data\nA /data/one");
    let both = store.mica(&["diff", "one", "two"]).ok();
    assert!(both.contains("A /data/one") && both.contains("D /data/two"), "{both}");
    assert_eq!(store.mica(&["diff", "two", "two"]).ok(), "");
    let json: serde_json::Value =
        serde_json::from_str(&store.mica(&["diff", "--format", "json", "one"]).ok()).expect("json");
    assert_eq!(json, serde_json::json!({ "changed": ["/data"], "added": ["/data/one"] }));
    store.mica(&["diff", "one", "nothere"]).fails(1, "No such image: nothere");
}

#[test]
fn privileged_commit_holds_processes_still_and_leaves_volumes_out() {
    let Some(store) = Store::with_base() else { return };
    // Two files that are always written together: an image in which they differ was read while somebody wrote.
    let script = "n=0; while true; do n=$((n + 1)); echo $n > /data/a; echo $n > /vol/v; done";
    store.background(&["--name", "cc", "-v", "vol:/vol", "base", "sh", "-c", script]);
    crate::support::until("the files", || store.mica(&["exec", "cc", "test", "-s", "/data/a"]).code == 0);
    for flags in [&[][..], &["--pause=false"], &["--no-pause"], &["-p"]] {
        let line = [&["commit"], flags, &["cc", "made:1"]].concat();
        store.mica(&line).ok();
        let look = "test -e /data/a && ls -A /vol | wc -l";
        assert_eq!(store.mica(&["run", "--rm", "made:1", "sh", "-c", look]).ok(), "0", "{flags:?}");
    }
    let before = store.mica(&["exec", "cc", "cat", "/vol/v"]).ok();
    crate::support::until("the next round", || store.mica(&["exec", "cc", "cat", "/vol/v"]).ok() != before);
}

#[test]
fn privileged_diff_tells_what_changed() {
    let Some(store) = Store::with_base() else { return };
    store
        .mica(&["run", "--name", "cc", "base", "sh", "-c", "touch /data/new; rm /etc/secret; echo x >> /etc/group"])
        .ok();
    let changes = store.mica(&["diff", "cc"]).ok();
    for line in ["C /data", "A /data/new", "C /etc", "D /etc/secret", "C /etc/group"] {
        assert!(changes.lines().any(|change| change == line), "{line} in {changes}");
    }
    assert!(!changes.contains("/bin"), "{changes}");
}

#[test]
fn privileged_export_has_everything() {
    let Some(store) = Store::with_base() else { return };
    store.mica(&["run", "--name", "cc", "base", "touch", "/data/new"]).ok();
    store.mica(&["export", "-o", "all.tar", "cc"]).ok();
    let mode = fs_err::metadata(store.path("all.tar")).expect("a file").mode() & 0o777;
    assert_eq!(mode & 0o022, 0, "the caller's umask holds: {mode:o}");
    let mut archive = tar::Archive::new(fs_err::File::open(store.path("all.tar")).expect("a file"));
    let names: Vec<String> = archive
        .entries()
        .expect("an archive")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert!(
        names.iter().any(|name| name.ends_with("data/new")) && names.iter().any(|name| name.ends_with("bin/busybox")),
        "{names:?}"
    );
}
