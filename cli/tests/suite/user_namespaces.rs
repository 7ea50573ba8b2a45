//! `--userns`, `--uidmap`: who owns what inside and outside, and that no byte of an image is copied for it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::support::{Store, driver, finish};

/// Root and the other users of most containers here.
const MAP: [&str; 2] = ["--uidmap", "0:300000:5000"];

/// Mounts files over `/etc/subuid` and `/etc/subgid` in a mount namespace of its own, and runs the test again there, on a btrfs of its
/// own where that is the driver. True inside.
fn inside(test: &str, store: &Store) -> bool {
    const INSIDE: &str = "MICA_TEST_USERNS_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let ranges = store.path("ranges");
        fs_err::write(&ranges, "containers:1000000:8192\n").expect("written");
        let script = "for file in /etc/subuid /etc/subgid; do [ -e $file ] || touch $file; mount --bind \"$0\" $file || exit 9; done; exec \"$@\"";
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&ranges);
        again.arg(std::env::current_exe().expect("this program"));
        again.args([&format!("user_namespaces::{test}"), "--exact", "--nocapture"]).env(INSIDE, "1");
        finish(again, b"").ok();
        return false;
    }
    true
}

fn with_map<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<&'a str> {
    [before, &MAP, after].concat()
}

#[test]
fn privileged_root_inside_is_nobody_outside() {
    let Some(store) = Store::with_base() else { return };
    let shared = store.path("shared");
    fs_err::create_dir(&shared).expect("a folder");
    fs_err::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).expect("open to all");
    fs_err::write(shared.join("secret"), "of the host").expect("written");
    fs_err::set_permissions(shared.join("secret"), std::fs::Permissions::from_mode(0o600)).expect("closed");
    let bind = format!("{}:/shared", shared.display());
    let script = "id -u; stat -c %u:%g /etc/secret /bin/busybox; touch /shared/made /own; stat -c %u:%g /own /shared/secret; \
                  cat /shared/secret; echo x > /shared/secret; cat /proc/self/uid_map";
    let done = store.mica(&with_map(&["run", "--rm", "-v", &bind], &["base", "sh", "-c", script]));
    let lines: Vec<&str> = done.stdout.split_whitespace().collect();
    assert_eq!(lines, ["0", "0:0", "0:0", "0:0", "65534:65534", "0", "300000", "5000"], "{done:#?}");
    let made = fs_err::metadata(shared.join("made")).expect("made through the bind");
    assert_eq!((made.uid(), made.gid()), (300_000, 300_000), "a file of root of the container");
    assert_eq!(fs_err::read_to_string(shared.join("secret")).expect("there"), "of the host");

    // As another user, by exec, on a terminal, and after a stop and a start: the same ids.
    let id = store.background(&with_map(&[], &["-v", &bind, "base", "sleep", "600"]));
    store.mica(&["exec", "-u", "1000", &id, "touch", "/shared/users"]).ok();
    store.mica(&["stop", "-t", "0", &id]).ok();
    store.mica(&["start", &id]).ok();
    assert_eq!(
        store.mica(&["exec", "-u", "1000:1000", &id, "sh", "-c", "echo out > /dev/stdout; id -g"]).ok(),
        "out\n1000"
    );
    assert_eq!(store.mica(&["exec", "-t", &id, "stat", "-c", "%u", "/dev/pts/0"]).ok(), "0");
    store.mica(&["exec", &id, "touch", "/shared/again"]).ok();
    for (name, owner) in [("users", 301_000), ("again", 300_000)] {
        assert_eq!(fs_err::metadata(shared.join(name)).expect(name).uid(), owner, "{name}");
    }
    let shown = store.mica(&["inspect", "-f", "{{.HostConfig.UsernsMode}} {{json .HostConfig.IDMappings}}", &id]).ok();
    assert_eq!(shown, r#"private {"GidMap":["0:300000:5000"],"UidMap":["0:300000:5000"]}"#);
    let pid = store.mica(&["inspect", "-f", "{{.State.Pid}}", &id]).ok();
    assert_eq!(fs_err::metadata(format!("/proc/{pid}")).expect("runs").uid(), 300_000);
    store.mica(&["rm", "-f", &id]).ok();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn privileged_an_image_is_neither_copied_nor_changed() {
    let Some(store) = Store::with_base() else { return };
    let plain = |root: &str| -> Vec<(String, u32, u64)> {
        let mut found = Vec::new();
        let mut open = vec![store.path(root)];
        while let Some(directory) = open.pop() {
            for entry in fs_err::read_dir(&directory).expect("listed").flatten() {
                let path = entry.path();
                let data = fs_err::symlink_metadata(&path).expect("there");
                found.push((path.display().to_string(), data.uid(), data.ino()));
                if data.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    };
    let layers = format!("root/{}/layers", driver_directory(&store));
    let before = plain(&layers);
    assert!(before.len() > 10, "{layers} holds the image");
    let ids: Vec<String> = (0..2)
        .map(|number| {
            let map = format!("0:{}:5000", 400_000 + 10_000 * number);
            store.background(&[
                "--uidmap",
                &map,
                "base",
                "sh",
                "-c",
                "echo x > /etc/secret; chmod 640 /etc/secret; sleep 600",
            ])
        })
        .collect();
    assert_eq!(plain(&layers), before, "a start has touched the image");
    // Layers made of it are those of a container without a mapping, to the byte.
    let script = "mkdir -p /a/b; echo 1 > /a/b/c; chmod 600 /a/b/c; ln /a/b/c /a/hard; ln -s c /a/b/soft; rm /not-executable; \
                  echo new > /etc/secret; touch -d @1700000000 /a/b/c /a/b /a /etc/secret /etc /";
    let run = |name: &str, flags: &[&str]| {
        store.mica(&[&["run", "--name", name], flags, &["base", "sh", "-c", script]].concat()).ok();
        let changes = store.mica(&["diff", name]).ok();
        let tar = store.mica(&["export", name]).bytes;
        store.mica(&["commit", name, name]).ok();
        let owners =
            store.mica(&["run", "--rm", name, "stat", "-c", "%u:%g %a %n", "/a/b/c", "/a", "/etc/secret", "/"]).ok();
        (changes, owners, tar_owners(&tar))
    };
    assert_eq!(run("mapped", &MAP), run("plain", &[]));
    for id in &ids {
        store.mica(&["rm", "-f", id]).ok();
    }
}

/// Where the driver keeps its objects, below the store's root.
fn driver_directory(store: &Store) -> String {
    let found = fs_err::read_dir(store.path("root")).expect("a store").flatten().find_map(|entry| {
        let inner = entry.path().join(driver());
        inner.join("layers").is_dir().then(|| format!("{}/{}", entry.file_name().to_string_lossy(), driver()))
    });
    found.unwrap_or_else(driver)
}

fn tar_owners(bytes: &[u8]) -> Vec<(String, u64, u64)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().expect("an archive").map(|entry| {
        let entry = entry.expect("an entry");
        let header = entry.header();
        let name = entry.path().expect("a name").display().to_string();
        (name, header.uid().expect("a user"), header.gid().expect("a group"))
    });
    entries.collect()
}

#[test]
fn privileged_two_autos_have_nothing_in_common() {
    let Some(store) = Store::with_base() else { return };
    if !inside("privileged_two_autos_have_nothing_in_common", &store) {
        return;
    }
    let range = |id: &str| -> (u32, u32) {
        let map = store.mica(&["exec", id, "cat", "/proc/self/uid_map"]).ok();
        let words: Vec<u32> = map.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        assert_eq!((words.len(), words[0]), (3, 0), "{map}");
        (words[1], words[2])
    };
    let start = || store.background(&["--userns", "auto", "base", "sleep", "600"]);
    let (one, two) = (start(), start());
    assert_eq!((range(&one), range(&two)), ((1_000_000, 1024), (1_001_024, 1024)), "as many as the image needs");
    store.mica(&["rm", "-f", &one]).ok();
    let three = store.background(&["--userns", "auto:size=1000", "base", "sleep", "600"]);
    assert_eq!(range(&three), (1_000_000, 1000), "what was removed is free again");
    store.mica(&["run", "--rm", "--userns", "auto:size=7000", "base", "true"]).fails(125, "not enough unused IDs");
    store.mica(&["stop", "-t", "0", &two]).ok();
    assert_eq!(store.mica(&["run", "--rm", "--userns", "auto:size=1", "base", "id", "-u"]).ok(), "0");
    store.mica(&["start", &two]).ok();
    assert_eq!(range(&two), (1_001_024, 1024), "a stopped container keeps its own");
}

#[test]
fn privileged_volumes_and_copies_have_the_containers_owners() {
    let Some(store) = Store::with_base() else { return };
    let id = store.background(&with_map(
        &["-w", "/made/for/it"],
        &["-v", "vol:/data", "-v", "new:/none", "base", "sleep", "600"],
    ));
    let script = "stat -c %u:%g /data /none /made/for/it && touch /data/f /none/f";
    assert_eq!(store.mica(&["exec", &id, "sh", "-c", script]).ok(), "0:0\n0:0\n0:0");
    let path = store.mica(&["volume", "inspect", "-f", "{{.Mountpoint}}", "vol"]).ok();
    assert_eq!(fs_err::metadata(Path::new(&path).join("f")).expect("made").uid(), 300_000);
    let file = store.path("file");
    fs_err::write(&file, "copied").expect("written");
    std::os::unix::fs::chown(&file, Some(7), Some(8)).expect("given");
    let (from, to) = (file.to_str().expect("valid UTF-8"), store.path("back"));
    for running in [true, false] {
        if !running {
            store.mica(&["stop", "-t", "0", &id]).ok();
        }
        let place = format!("/sub-{running}");
        store.mica(&["cp", from, &format!("{id}:{place}")]).ok();
        store.mica(&["cp", "-a", &format!("{id}:{place}"), to.to_str().expect("valid UTF-8")]).ok();
        let back = fs_err::metadata(&to).expect("copied back");
        assert_eq!((back.uid(), back.gid()), (7, 8), "running: {running}");
    }
    store.mica(&["start", &id]).ok();
    assert_eq!(store.mica(&["exec", &id, "stat", "-c", "%u:%g", "/sub-true", "/sub-false"]).ok(), "7:8\n7:8");
    // Archives of it while it runs, out and in again, with a directory that no entry speaks of.
    store.mica(&["exec", &id, "sh", "-c", "chmod 750 /sub-true; ln /sub-true /hard"]).ok();
    let exported = tar_owners(&store.mica(&["export", &id]).bytes);
    for wanted in [("sub-true", 7, 8), ("etc/secret", 0, 0)] {
        assert!(exported.iter().any(|(name, uid, gid)| (name.as_str(), *uid, *gid) == wanted), "{exported:?}");
    }
    let archive = store.mica(&["cp", &format!("{id}:/sub-true"), "-"]).bytes;
    assert_eq!(tar_owners(&archive), [("sub-true".to_owned(), 7, 8)]);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(9);
    header.set_gid(10);
    builder.append_data(&mut header, "some/where/file", &b""[..]).expect("written");
    let archive = builder.into_inner().expect("an archive");
    store.mica_with(&["cp", "-", &format!("{id}:/data")], &archive).ok();
    let stat = ["exec", &id, "stat", "-c", "%u:%g %a", "/data/some", "/data/some/where/file"];
    assert_eq!(store.mica(&stat).ok(), "0:0 755\n9:10 644");
}

#[test]
fn privileged_other_namespaces_belong_to_it() {
    let Some(store) = Store::with_base() else { return };
    let runtimes: &[&[&str]] = if Path::new("/usr/sbin/runc").exists() || Path::new("/usr/bin/runc").exists() {
        &[&[], &["--runtime", "runc"]]
    } else {
        &[&[]]
    };
    for runtime in runtimes {
        let flags: &[&[&str]] = &[
            &[],
            &["--init"],
            &["--read-only", "--tmpfs", "/run"],
            &["--privileged"],
            &["--network", "host"],
            &["--network", "none", "--cap-add", "NET_ADMIN"],
            &["--pid", "host"],
            &["--ipc", "host"],
            &["--memory", "64m"],
        ];
        for more in flags {
            let line = [
                &["run", "--rm"],
                *runtime,
                &MAP,
                *more,
                &["base", "sh", "-c", "id -u; test -e /dev/null && test -d /sys/class"],
            ];
            assert_eq!(store.mica(&line.concat()).ok(), "0", "{runtime:?} {more:?}");
        }
        let own = [&["run", "-d"], *runtime, &MAP, &["base", "sleep", "600"]].concat();
        let id = store.mica(&own).ok();
        assert_eq!(store.mica(&["exec", &id, "id", "-u"]).ok(), "0", "{runtime:?}");
        store.mica(&["rm", "-f", &id]).ok();
    }
    let refused: &[(&[&str], &str)] = &[
        (&["--userns", "keep-id"], "keep-id is only supported in rootless mode"),
        (&["--userns", "nomap"], "nomap is only supported in rootless mode"),
        (&["--userns", "private"], "must provide at least one UID or GID mapping"),
        (&["--userns", "else"], "invalid user namespace mode: `else`"),
        (&["--uidmap", "1:2:3"], "leaves out 0"),
        (&["--uidmap", "0:1:5", "--userns", "host"], "conflicting options"),
    ];
    for (flags, words) in refused {
        store.mica(&[&["run", "--rm"], *flags, &["base", "true"]].concat()).fails(125, words);
    }
    assert_eq!(
        store
            .mica(&["run", "--rm", "--userns", "host", "base", "cat", "/proc/self/uid_map"])
            .ok()
            .split_whitespace()
            .next(),
        Some("0")
    );
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "", "a refusal leaves nothing");
}

#[test]
fn privileged_sources_are_treated_as_podman_does() {
    let Some(store) = Store::with_base() else { return };
    let source = store.path("source");
    fs_err::create_dir(&source).expect("a folder");
    fs_err::write(source.join("file"), "below").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", source.join("link")).expect("a link");
    let passwd = fs_err::metadata("/etc/passwd").expect("there").uid();
    let mount = |options: &str| format!("{}:/s:{options}", source.display());
    let owner = |name: &str| fs_err::symlink_metadata(source.join(name)).expect(name).uid();

    // `idmap`: the host's owners, in both directions, though the ids of the container are others.
    let script = "stat -c %u /s /s/file; touch /s/made; stat -c %u /s/made";
    let line = ["-v", &mount("idmap"), "base", "sh", "-c", script];
    assert_eq!(store.mica(&with_map(&["run", "--rm"], &line)).ok(), "0\n0\n0");
    assert_eq!(owner("made"), 0);
    let typed = format!("type=bind,source={},target=/s,idmap", source.display());
    let line = ["--mount", &typed, "base", "stat", "-c", "%u", "/s/file"];
    assert_eq!(store.mica(&with_map(&["run", "--rm"], &line)).ok(), "0");

    // `O`: what is written is the container's, from one start to the next, and nobody else sees it.
    let line = [
        "--name",
        "over",
        "-v",
        &mount("O"),
        "base",
        "sh",
        "-c",
        "cat /s/file; ls /s; echo above > /s/file; touch /s/new",
    ];
    let listed = "below\nfile\nlink\nmade";
    assert_eq!(
        store.mica(&[&["run"], &line[..]].concat()).ok().replace("below", "below\n").replace("\n\n", "\n"),
        listed
    );
    assert_eq!(store.mica(&["start", "-a", "over"]).ok().replace("below", "below\n").replace("\n\n", "\n"), listed);
    assert_eq!(fs_err::read_to_string(source.join("file")).expect("there"), "below");
    assert!(!source.join("new").exists());
    let from = store.path("base.tar");
    let from = from.to_str().expect("valid UTF-8");
    store.mica(&["cp", from, "over:/s/copied"]).fails(1, "Read-only file system");
    store.mica(&["rm", "over"]).ok();

    // `U`: everything is the container's user's, for good; links are given away and not followed.
    for (flags, user, wanted) in [(&[][..], "7:8", 7), (&MAP[..], "7:8", 300_007), (&MAP[..], "0", 300_000)] {
        let given = mount("U");
        let line = [&["run", "--rm"], flags, &["-u", user, "-v", &given, "base", "touch", "/s/file"]].concat();
        store.mica(&line).ok();
        for name in ["", "file", "link", "made"] {
            assert_eq!(owner(name), wanted, "{flags:?} {user} {name}");
        }
    }
    assert_eq!(fs_err::metadata("/etc/passwd").expect("there").uid(), passwd);
    let line =
        ["run", "--rm", "-u", "7", "-v", "vol:/none:U", "base", "sh", "-c", "touch /none/f; stat -c %u /none /none/f"];
    assert_eq!(store.mica(&line).ok(), "7\n7");
    store.mica(&["run", "--rm", "-v", "/usr:/s:U", "base", "true"]).fails(125, "cannot be given to a container");
    store.mica(&["run", "--rm", "--volumes-from", "x:U", "base", "true"]).fails(125, "invalid mode");
}
