//! `volume …`, and what `-v`, `--mount` and `--volumes-from` put into a container.

use std::process::Command;

use crate::support::{Store, finish};

#[test]
fn privileged_volumes_are_made_listed_and_removed() {
    let Some(store) = Store::with_base() else { return };
    assert_eq!(store.mica(&["volume", "create", "one"]).ok(), "one");
    assert_eq!(store.mica(&["volume", "create", "one"]).ok(), "one", "one that is there stays");
    store.mica(&["volume", "create", "--label", "a=b", "--label", "c", "two"]).ok();
    let random = store.mica(&["volume", "create"]).ok();
    assert_eq!(random.len(), 64, "{random}");
    let cases: &[(&[&str], &str)] = &[
        (&["-f", "label=a"], "two"),
        (&["-f", "label=a=c"], ""),
        (&["-f", "name=on"], "one"),
        (&["-f", "driver=local", "-f", "name=o"], "one\ntwo"),
        (&["-f", "dangling=false"], ""),
    ];
    for (filters, wanted) in cases {
        let line = [&["volume", "ls", "-q"], *filters].concat();
        assert_eq!(store.mica(&line).ok(), *wanted, "{filters:?}");
    }
    assert_eq!(
        store.mica(&["volume", "inspect", "-f", "{{.Name}} {{json .Labels}} {{.Scope}}", "two"]).ok(),
        r#"two {"a":"b","c":""} local"#
    );
    let path = store.mica(&["volume", "inspect", "-f", "{{.Mountpoint}}", "one"]).ok();
    assert!(fs_err::metadata(&path).expect("a folder").is_dir());
    store.background(&["--name", "cc", "-v", "one:/data", "base", "sleep", "600"]);
    let id = store.mica(&["inspect", "-f", "{{.Id}}", "cc"]).ok();
    store.mica(&["volume", "rm", "one"]).fails(1, &format!("remove one: volume is in use - [{id}]"));
    assert_eq!(store.mica(&["volume", "ls", "-q", "-f", "dangling=false"]).ok(), "one");
    let refused: &[(&[&str], i32, &str)] = &[
        (&["inspect", "nope"], 1, "No such volume: nope"),
        (&["rm", "nope", "../one"], 1, "No such volume: nope"),
        (&["create", "-d", "nope", "x1"], 1, "error looking up volume plugin nope"),
        (&["create", "a b"], 1, "includes invalid characters for a local volume name"),
        (&["create", "--opt", "type=tmpfs", "x2"], 1, "missing required option: `device`"),
        (&["create", "--opt", "what=1", "x3"], 1, "invalid option: `what`"),
        (&["ls", "-f", "nope=1"], 1, "invalid filter 'nope'"),
        (&["exists", "nope"], 1, ""),
    ];
    for (line, code, words) in refused {
        store.mica(&[&["volume"], *line].concat()).fails(*code, words);
    }
    store.mica(&["volume", "exists", "one"]).ok();
    assert_eq!(store.mica(&["volume", "rm", "-f", "nope"]).ok(), "nope");
    let said = store.mica(&["volume", "prune", "-f"]).ok();
    assert!(said.contains(&random) && !said.contains("two"), "only what has no name: {said}");
    let said = store.mica(&["volume", "prune", "-af"]).ok();
    assert!(said.contains("two") && !said.contains("one"), "{said}");
    store.mica(&["rm", "-f", "cc"]).ok();
    assert_eq!(store.mica(&["volume", "rm", "one"]).ok(), "one");
    assert!(!fs_err::exists(&path).expect("looked"), "its files are gone");
}

#[test]
fn privileged_a_new_volume_takes_over_what_the_image_has() {
    let Some(store) = Store::with_base() else { return };
    fs_err::write(
        store.path("Dockerfile"),
        "FROM base\nRUN mkdir -p /srv/sub && echo hi > /srv/file && ln /srv/file /srv/sub/link \
         && chown -R 1000:1000 /srv && chmod 4711 /srv/file && chmod 2750 /srv\nVOLUME /srv\n",
    )
    .expect("written");
    let folder = store.path("").display().to_string();
    store.mica(&["build", "-q", "-t", "filled", &folder]).ok();
    let look = "stat -c '%a %u:%g' /srv; stat -c '%a %u %h' /srv/file; cat /srv/sub/link";
    let wanted = "2750 1000:1000\n4711 1000 2\nhi";
    for flags in [&["-v", "named:/srv"][..], &[], &["-v", "/srv"], &["--mount", "src=other,dst=/srv"]] {
        let line = [&["run", "--rm"], flags, &["filled", "sh", "-c", look]].concat();
        assert_eq!(store.mica(&line).ok(), wanted, "{flags:?}");
    }
    assert_eq!(store.mica(&["volume", "ls", "-q"]).ok(), "named\nother", "anonymous ones went with their containers");
    let line = ["run", "--rm", "--mount", "src=bare,dst=/srv,volume-nocopy", "filled", "ls", "-A", "/srv"];
    assert_eq!(store.mica(&line).ok(), "");
    store.mica(&["run", "--rm", "-v", "named:/srv", "base", "rm", "/srv/file"]).ok();
    let line = ["run", "--rm", "-v", "named:/srv", "filled", "ls", "/srv"];
    assert_eq!(store.mica(&line).ok(), "sub", "what is not empty is not filled");
}

#[test]
fn privileged_options_of_a_volume_are_mounted_for_its_containers_alone() {
    let Some(store) = Store::with_base() else { return };
    let options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,uid=1000,noexec"];
    store.mica(&[&["volume", "create"], &options[..], &["mem"]].concat()).ok();
    let line = "grep ' /m ' /proc/mounts; stat -c %u /m; echo shared > /m/file; sleep 600";
    store.background(&["--name", "cc", "-v", "mem:/m", "base", "sh", "-c", line]);
    crate::support::until("the file", || store.mica(&["exec", "cc", "test", "-s", "/m/file"]).code == 0);
    assert_eq!(store.mica(&["logs", "cc"]).ok(), "tmpfs /m tmpfs rw,noexec,relatime,size=1024k,uid=1000 0 0\n1000");
    let other = ["run", "--rm", "-v", "mem:/m:ro", "base", "cat", "/m/file"];
    assert_eq!(store.mica(&other).ok(), "shared", "a running container's memory is the other's too");
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(store.path("").to_str().expect("a path")), "nothing is mounted on the host: {mounts}");
    store.mica(&["rm", "-f", "cc"]).ok();
    store.mica(&other).fails(1, "No such file");
    fs_err::create_dir(store.path("device")).expect("a folder");
    let device = format!("device={}", store.path("device").display());
    store.mica(&["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", &device, "bound"]).ok();
    store.mica(&["run", "--rm", "-v", "bound:/b", "base", "touch", "/b/made"]).ok();
    assert!(store.path("device/made").exists());
    store.mica(&["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/nope", "lost"]).ok();
    store.mica(&["run", "--rm", "-v", "lost:/b", "base", "true"]).fails(125, "failed to mount local volume");
}

#[test]
fn privileged_every_form_of_mount() {
    let Some(store) = Store::with_base() else { return };
    fs_err::create_dir_all(store.path("bind/sub")).expect("folders");
    fs_err::write(store.path("bind/file"), "bound").expect("written");
    let bind = store.path("bind").display().to_string();
    let fill = "mkdir -p /v/a/b; echo below > /v/a/f; ln -s /etc /v/out; ln -s ../../../.. /v/up";
    store.mica(&["run", "--rm", "-v", "vol:/v", "base", "sh", "-c", fill]).ok();
    let line = |text: &str| text.replace("BIND", &bind);
    // flags, script, exit code, standard output
    let cases: &[(&[&str], &str, i32, &str)] = &[
        (&["-v", "BIND:/x:ro"], "cat /x/file; touch /x/n 2>/dev/null || echo refused", 0, "boundrefused"),
        (&["-v", "BIND/file:/new/deep/file"], "cat /new/deep/file", 0, "bound"),
        (&["-v", "BIND/file:/etc/secret"], "cat /etc/secret", 0, "bound"),
        (&["-v", "BIND/made:/x"], "ls -A /x", 0, ""),
        (&["-v", "vol:/v", "-v", "BIND:/v/a/b"], "cat /v/a/b/file /v/a/f", 0, "boundbelow"),
        (&["--mount", "src=vol,dst=/v,volume-subpath=a"], "cat /v/f", 0, "below"),
        (&["--mount", "src=vol,dst=/v,volume-subpath=a/f,readonly"], "cat /v", 0, "below"),
        (&["--mount", "src=vol,dst=/v,volume-subpath=out"], "ls /v", 125, ""),
        (&["--mount", "src=vol,dst=/v,volume-subpath=up"], "cat /v/a/f", 0, "below"),
        (&["--mount", "src=vol,dst=/v,volume-subpath=nope"], "ls /v", 125, ""),
        (
            &["--mount", "type=image,src=base,dst=/i"],
            "cat /i/etc/secret; touch /i/n 2>/dev/null || echo ro",
            0,
            "old\nro",
        ),
        (&["--mount", "type=image,src=base,dst=/i,image-subpath=etc"], "cat /i/secret", 0, "old"),
        (&["--mount", "type=tmpfs,dst=/t,tmpfs-mode=0700,tmpfs-size=1m"], "stat -c %a /t", 0, "700"),
        (&["--mount", "type=bind,src=BIND/nope,dst=/x"], "true", 125, ""),
        (&["-v", "BIND/file:/data"], "true", 125, ""),
        (&["-v", "BIND:/etc/passwd"], "true", 125, ""),
        (&["-v", "vol:/v", "--tmpfs", "/v"], "true", 125, ""),
        (&["--volume-driver", "nope", "-v", "fresh:/v"], "true", 125, ""),
    ];
    for (flags, script, code, wanted) in cases {
        let flags: Vec<String> = flags.iter().map(|flag| line(flag)).collect();
        let mut words = vec!["run", "--rm"];
        words.extend(flags.iter().map(String::as_str));
        words.extend(["base", "sh", "-c", script]);
        let done = store.mica(&words);
        assert_eq!((done.code, done.stdout.trim_end()), (*code, *wanted), "{flags:?}: {}", done.stderr);
    }
    assert!(!store.path("bind/nope").exists(), "`--mount` makes no source");
    let done = store.mica(&["run", "--rm", "-v", &format!("{bind}/file:/data"), "base", "true"]);
    done.fails(125, "Are you trying to mount a directory onto a file (or vice-versa)?");
    store.mica(&["create", "--name", "uses", "--mount", "type=image,src=base,dst=/i", "base"]).ok();
    store.mica(&["tag", "base", "again"]).ok();
    store.mica(&["rmi", "-f", "base", "again"]).fails(1, "image is mounted in container");
}

#[test]
fn privileged_volumes_of_other_containers() {
    let Some(store) = Store::with_base() else { return };
    fs_err::create_dir(store.path("bind")).expect("a folder");
    let bind = format!("{}:/bind", store.path("bind").display());
    store.mica(&["create", "--name", "first", "-v", "vol:/vol", "-v", "/anon", "-v", &bind, "base"]).ok();
    store.mica(&["create", "--name", "second", "--volumes-from", "first:ro", "-v", "own:/vol", "base"]).ok();
    assert_eq!(
        store.mica(&["inspect", "-f", "{{range .Mounts}}{{.Destination}}={{.RW}} {{end}}", "second"]).ok(),
        "/bind=false /anon=false /vol=true"
    );
    assert_eq!(store.mica(&["inspect", "-f", "{{.HostConfig.VolumesFrom}}", "second"]).ok(), "[first:ro]");
    let write = ["run", "--rm", "--volumes-from", "first", "base", "sh", "-c", "echo x > /anon/f; echo x > /bind/f"];
    store.mica(&write).ok();
    assert!(store.path("bind/f").exists());
    store.mica(&["rm", "-v", "first"]).ok();
    let anonymous = store.mica(&["volume", "ls", "-q", "-f", "dangling=false"]).ok();
    assert!(anonymous.lines().any(|name| name.len() == 64), "the second container still has it: {anonymous}");
    store.mica(&["rm", "-v", "second"]).ok();
    assert_eq!(store.mica(&["volume", "ls", "-q"]).ok(), "own\nvol");
    store.mica(&["run", "--volumes-from", "nope", "base"]).fails(125, "No such container: nope");
    store.mica(&["run", "--volumes-from", "first:bad", "base"]).fails(125, "invalid mode: `bad`");
}

/// In a mount namespace of its own, whose mounts are shared or not as the case says.
#[test]
fn privileged_mounts_travel_as_asked() {
    let Some(store) = Store::with_base() else { return };
    fs_err::create_dir_all(store.path("top")).expect("a folder");
    let script = r#"
        set -e
        mount -t tmpfs tmpfs "$TOP" && mount --make-shared "$TOP" && mkdir "$TOP/in" "$TOP/out"
        "$@" run -d --name "c$MODE" --privileged -v "$TOP:/top:$MODE" base sleep 600 >/dev/null
        mount -t tmpfs tmpfs "$TOP/in" && touch "$TOP/in/host"
        "$@" exec "c$MODE" sh -c 'ls /top/in; mount -t tmpfs tmpfs /top/out && touch /top/out/container'
        echo "out: $(ls "$TOP/out")"
        "$@" rm -f "c$MODE" >/dev/null
    "#;
    for (mode, wanted) in [("rprivate", "out: "), ("rslave", "host\nout: "), ("rshared", "host\nout: container")] {
        let mica = store.command(&[]);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        command.arg(mica.get_program()).args(mica.get_args());
        command.env("MICA_CONFIG", "/dev/null").env("TOP", store.path("top")).env("MODE", mode);
        assert_eq!(finish(command, b"").ok(), wanted.trim_end(), "{mode}");
    }
}
