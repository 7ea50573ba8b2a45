//! Flags of limits, namespaces and devices: what each does inside the container or in its control group, and what is said
//! where the kernel cannot.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Store, until};

/// True with one hierarchy of control groups for everything.
fn is_version_2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A line that reads a file of the container's control group, under its names in both versions.
fn group(old: &str, new: &str) -> String {
    format!("cat /sys/fs/cgroup/{}", if is_version_2() { new } else { old })
}

/// A block device of this machine.
pub fn block_device() -> Option<PathBuf> {
    let mut entries = fs_err::read_dir("/dev").ok()?.flatten();
    entries.find(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device())).map(|entry| entry.path())
}

fn check(store: &Store, flags: &str, script: &str, expected: &str) {
    for runtime in [None, Some("runc")] {
        let mut line = vec!["run", "--rm"];
        if let Some(runtime) = runtime {
            if !Path::new("/usr/sbin/runc").exists() && !Path::new("/usr/bin/runc").exists() {
                continue;
            }
            line.extend(["--runtime", runtime]);
        }
        // Flags are parted by two spaces, so that a value may have one.
        line.extend(flags.split("  ").filter(|flag| !flag.is_empty()));
        line.extend(["base", "sh", "-c", script]);
        let done = store.mica(&line);
        assert_eq!((done.code, done.stdout.trim_end()), (0, expected), "{runtime:?} {flags}: {}", done.stderr);
    }
}

#[test]
fn privileged_limits_are_in_the_control_group() {
    let Some(store) = Store::with_base() else { return };
    let v2 = is_version_2();
    let cpu = if v2 { "cpu.max" } else { "cpu/cpu.cfs_quota_us" };
    for (flags, script, expected) in [
        ("--memory  64m", group("memory/memory.limit_in_bytes", "memory.max"), "67108864"),
        ("--memory-reservation  32m", group("memory/memory.soft_limit_in_bytes", "memory.low"), "33554432"),
        (
            "--cpu-period  50000  --cpu-quota  20000",
            format!("cat /sys/fs/cgroup/{cpu}"),
            if v2 { "20000 50000" } else { "20000" },
        ),
        ("--cpus  0.5", format!("cat /sys/fs/cgroup/{cpu}"), if v2 { "50000 100000" } else { "50000" }),
        ("--cpuset-cpus  0", group("cpuset/cpuset.cpus", "cpuset.cpus"), "0"),
        ("--cpuset-mems  0", group("cpuset/cpuset.mems", "cpuset.mems"), "0"),
        ("--pids-limit  77", group("pids/pids.max", "pids.max"), "77"),
    ] {
        check(&store, flags, &script, expected);
    }
    if !v2 {
        check(&store, "--cpu-period  50000", "cat /sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000");
        check(&store, "--cpu-shares  512", "cat /sys/fs/cgroup/cpu/cpu.shares", "512");
        check(&store, "--memory-swappiness  7", "cat /sys/fs/cgroup/memory/memory.swappiness", "7");
        let killer = "head -n 1 /sys/fs/cgroup/memory/memory.oom_control";
        check(&store, "-m  64m  --oom-kill-disable", killer, "oom_kill_disable 1");
        check(&store, "-m  64m", killer, "oom_kill_disable 0");
        let swap = "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes";
        check(&store, "-m  64m  --memory-swap  96m", swap, "100663296");
    }
}

#[test]
fn privileged_block_devices_are_throttled_by_their_numbers() {
    let Some(store) = Store::with_base() else { return };
    let Some(device) = block_device() else { return crate::support::skip("no block device") };
    let number = rustix::fs::stat(&device).expect("a device").st_rdev;
    let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    for (flag, file, value, shown) in [
        ("--device-read-bps", "read_bps", "1mb", "1048576"),
        ("--device-write-bps", "write_bps", "2mb", "2097152"),
        ("--device-read-iops", "read_iops", "70", "70"),
        ("--device-write-iops", "write_iops", "80", "80"),
    ] {
        let flags = format!("{flag}  {}:{value}", device.display());
        if is_version_2() {
            let key = file.replace("read_", "r").replace("write_", "w");
            check(&store, &flags, &format!("grep -c '{key}={shown}' /sys/fs/cgroup/io.max"), "1");
        } else {
            let file = format!("cat /sys/fs/cgroup/blkio/blkio.throttle.{file}_device");
            check(&store, &flags, &file, &format!("{number} {shown}"));
        }
    }
    store
        .mica(&["run", "--rm", "--device-read-bps", "/dev/null:1mb", "base", "true"])
        .fails(125, "is not a block device");
}

#[test]
fn privileged_what_the_kernel_cannot_is_said() {
    let Some(store) = Store::with_base() else { return };
    let warned = |flags: &[&str], words: &str| {
        let done = store.mica(&[&["run", "--rm"], flags, &["base", "true"]].concat());
        assert!(done.code == 0 && done.stderr.contains(words), "{flags:?}: {done:#?}");
    };
    warned(&["--kernel-memory", "50m"], "Flag --kernel-memory has been deprecated");
    let weight = ["/sys/fs/cgroup/blkio/blkio.weight", "/sys/fs/cgroup/blkio/blkio.bfq.weight"];
    if is_version_2() {
        warned(&["--memory-swappiness", "7"], "Memory swappiness discarded");
        warned(&["--oom-kill-disable"], "OomKillDisable discarded");
    } else {
        warned(&["--oom-kill-disable"], "no memory limit is set");
        if !weight.iter().any(|file| Path::new(file).exists()) {
            warned(&["--blkio-weight", "100"], "Weight discarded");
            if let Some(device) = block_device() {
                warned(&["--blkio-weight-device", &format!("{}:100", device.display())], "Weight-device discarded");
            }
        }
    }
    for (flags, words) in [
        (&["--cpus", "4096"][..], "CPUs available"),
        (&["--cpu-period", "5"], "CPU cfs period"),
        (&["--cpu-quota", "5"], "CPU cfs quota"),
        (&["--cpus", "1", "--cpu-period", "1000"], "cannot both be set"),
        (&["--cpu-rt-runtime", "2000000000"], ""),
        (&["--gpus", "all"], "could not select device driver"),
        (&["--security-opt", "label=level:s0"], "SELinux"),
        (&["--uts", "host", "--hostname", "x"], "hostname and the UTS mode"),
        (&["--network", "host", "--sysctl", "net.core.somaxconn=1"], "not allowed"),
        (&["--ipc", "host", "--sysctl", "kernel.shmmax=1"], "not allowed"),
        (&["--ipc", "container:nobody"], "nobody"),
        (&["--pid", "container:nobody"], "nobody"),
    ] {
        store.mica(&[&["run", "--rm"], flags, &["base", "true"]].concat()).fails(125, words);
    }
    if !Path::new("/sys/module/apparmor/parameters/enabled").exists() {
        store
            .mica(&["run", "--rm", "--security-opt", "apparmor=x", "base", "true"])
            .fails(125, "AppArmor is not enabled");
        check(&store, "--security-opt  apparmor=unconfined", "echo ran", "ran");
    }
    assert_eq!(store.mica(&["ps", "-aq"]).ok(), "", "a refused container leaves nothing");
}

#[test]
fn privileged_namespaces_are_shared_as_asked() {
    let Some(store) = Store::with_base() else { return };
    let link = |kind: &str| fs_err::read_link(format!("/proc/self/ns/{kind}")).expect("a link").display().to_string();
    let inside = |flags: &str, kind: &str| {
        let mut line = vec!["run", "--rm"];
        line.extend(flags.split_whitespace());
        let name = format!("/proc/self/ns/{kind}");
        line.extend(["base", "ls", "-l", &name]);
        let said = store.mica(&line).ok();
        said.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    for (flags, kind, shared) in [
        ("", "ipc", false),
        ("--ipc private", "ipc", false),
        ("--ipc shareable", "ipc", false),
        ("--ipc none", "ipc", false),
        ("--ipc host", "ipc", true),
        ("", "pid", false),
        ("--pid host", "pid", true),
        ("", "uts", false),
        ("--uts host", "uts", true),
        ("--cgroupns private", "cgroup", false),
        ("--cgroupns host", "cgroup", true),
        ("", "cgroup", !is_version_2()),
    ] {
        assert_eq!(inside(flags, kind) == link(kind), shared, "{flags} {kind}");
    }
    check(&store, "--cgroupns  private", "grep -c -v ':/$' /proc/self/cgroup || true", "0");
    check(&store, "--ipc  none", "ls -d /dev/shm 2>/dev/null || echo none", "none");
    check(&store, "--shm-size  2m", "grep -c ' /dev/shm .*size=2048k' /proc/mounts", "1");
    check(
        &store,
        "--domainname  dom  --hostname  box",
        "cat /proc/sys/kernel/domainname; grep -c 'box.dom box' /etc/hosts",
        "dom\n1",
    );
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    check(&store, "--uts  host", "hostname", &name);
}

#[test]
fn privileged_containers_lend_their_namespaces() {
    let Some(store) = Store::with_base() else { return };
    store.background(&[
        "--name",
        "lender",
        "--ipc",
        "shareable",
        "base",
        "sh",
        "-c",
        "echo kept >/dev/shm/f; sleep 600",
    ]);
    until("the file", || store.mica(&["exec", "lender", "test", "-s", "/dev/shm/f"]).code == 0);
    check(&store, "--ipc  container:lender", "cat /dev/shm/f; echo back >/dev/shm/g", "kept");
    assert_eq!(store.mica(&["exec", "lender", "cat", "/dev/shm/g"]).ok(), "back");
    check(&store, "--pid  container:lender", "test $$ != 1 && echo joined", "joined");
    // What joins is recorded by ID, so a new name changes nothing.
    store.mica(&["create", "--name", "joiner", "--pid", "container:lender", "base", "true"]).ok();
    store.mica(&["rename", "lender", "renamed"]).ok();
    store.mica(&["start", "-a", "joiner"]).ok();
    store.background(&["--name", "private", "base", "sleep", "600"]);
    store.mica(&["run", "--rm", "--ipc", "container:private", "base", "true"]).fails(125, "non-shareable IPC");
    store.mica(&["stop", "-t", "0", "renamed"]).ok();
    store.mica(&["start", "-a", "joiner"]).fails(1, "non running container");
}

#[test]
fn privileged_devices_and_rules() {
    let Some(store) = Store::with_base() else { return };
    check(&store, "--device  /dev/null:/dev/void", "echo x >/dev/void; stat -c %t:%T /dev/void", "1:3");
    check(&store, "--device  /dev/null:/made/void", "echo x >/made/void; stat -c %t:%T /made/void", "1:3");
    // 10:229 is fuse's; without a rule it can be made but not opened.
    let open = "busybox mknod /tmp/d c 10 229; (: </tmp/d) 2>/dev/null && echo opened || echo refused";
    check(&store, "", open, "refused");
    if Path::new("/dev/fuse").exists() {
        check(&store, "--device-cgroup-rule  c 10:229 r", open, "opened");
        check(&store, "--device-cgroup-rule  c *:* rwm", open, "opened");
    }
    let folder = store.path("devices");
    fs_err::create_dir_all(folder.join("deep")).expect("a folder");
    for (name, minor) in [("one", 3), ("deep/two", 5)] {
        let device = rustix::fs::makedev(1, minor);
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, folder.join(name), rustix::fs::FileType::CharacterDevice, mode, device)
            .expect("a node");
    }
    let flags = format!("--device  {}:/dev/mine", folder.display());
    check(&store, &flags, "stat -c %T /dev/mine/one /dev/mine/deep/two", "3\n5");
    store.mica(&["run", "--rm", "--device", "/etc/passwd", "base", "true"]).fails(125, "is not a device node");
}

#[test]
fn privileged_system_paths_are_opened_and_hidden() {
    let Some(store) = Store::with_base() else { return };
    let seen = "test $(wc -c </proc/interrupts) -gt 0 && echo seen || echo hidden";
    check(&store, "", seen, "hidden");
    for option in ["systempaths=unconfined", "unmask=ALL", "unmask=/proc/interrupts", "unmask=/proc/*"] {
        check(&store, &format!("--security-opt  {option}"), seen, "seen");
    }
    check(&store, "--security-opt  mask=/proc/uptime:/proc/stat", "wc -c </proc/uptime; wc -c </proc/stat", "0\n0");
    check(&store, "--security-opt  proc-opts=hidepid=2", "grep -c ' /proc .*hidepid=' /proc/mounts", "1");
}

#[test]
fn privileged_limits_of_the_process_and_its_init() {
    let Some(store) = Store::with_base() else { return };
    check(&store, "--ulimit  nofile=64:128  --ulimit  core=0", "ulimit -n; ulimit -Hn; ulimit -c", "64\n128\n0");
    // Fewer files than making a container takes: the limit is the program's. runc itself fails under it.
    assert_eq!(store.mica(&["run", "--rm", "--ulimit", "nofile=5", "base", "sh", "-c", "ulimit -n"]).ok(), "5");
    check(&store, "--init", "head -c 9 /proc/1/cmdline; echo; stat -c %a /dev/init", "/dev/init\n555");
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137)] {
        assert_eq!(store.mica(&["run", "--rm", "--init", "base", "sh", "-c", script]).code, code, "{script}");
    }
    assert_eq!(store.mica(&["run", "--rm", "--init", "base", "nonesuch"]).code, 127);
    // An orphan is collected instead of staying a zombie.
    let orphan = "(sleep 0.1 & ) ; sleep 0.5; cat /proc/[0-9]*/status | grep -c zombie || true";
    check(&store, "--init", orphan, "0");
    let id = store.background(&["--init", "base", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done"]);
    store.mica(&["stop", &id]).ok();
    assert_eq!(store.mica(&["wait", &id]).ok(), "9", "the signal reached the program");
}

#[test]
fn privileged_groups_lie_below_their_parent() {
    let Some(store) = Store::with_base() else { return };
    let parent = format!("mica-test-{}", std::process::id());
    check(
        &store,
        &format!("--cgroup-parent  /{parent}"),
        &format!("grep -q '/{parent}/' /proc/self/cgroup && echo below"),
        if is_version_2() { "" } else { "below" },
    );
    let hierarchies = fs_err::read_dir("/sys/fs/cgroup").expect("control groups").flatten().map(|entry| entry.path());
    for place in hierarchies.chain(["/sys/fs/cgroup".into()]) {
        // The parent is the person's; nothing of the container is left in it.
        match fs_err::remove_dir(place.join(&parent)) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
            result => result.expect("an empty group"),
        }
    }
}

#[test]
fn privileged_inspect_has_dockers_keys() {
    let Some(store) = Store::with_base() else { return };
    let line = "create --name shown --ipc shareable --pid host --cgroupns host --cgroup-parent /p --cpu-period 1000 \
                --cpu-quota 2000 --annotation a=b --device-cgroup-rule rule --memory 64m --memory-reservation 32m \
                --domainname dom --ulimit nofile=1:2 --security-opt mask=/proc/uptime base";
    let words: Vec<&str> = line.split_whitespace().map(|word| if word == "rule" { "c 1:* rw" } else { word }).collect();
    store.mica(&words).ok();
    let shown: Value = serde_json::from_str(&store.mica(&["inspect", "shown"]).ok()).expect("JSON");
    let host = &shown[0]["HostConfig"];
    for (key, value) in [
        ("IpcMode", Value::from("shareable")),
        ("PidMode", "host".into()),
        ("UTSMode", "".into()),
        ("CgroupnsMode", "host".into()),
        ("CgroupParent", "/p".into()),
        ("CpuPeriod", 1000.into()),
        ("CpuQuota", 2000.into()),
        ("CpuRealtimeRuntime", 0.into()),
        ("Memory", (64 << 20).into()),
        ("MemoryReservation", (32 << 20).into()),
        ("MemorySwappiness", Value::Null),
        ("OomKillDisable", false.into()),
        ("DeviceCgroupRules", serde_json::json!(["c 1:* rw"])),
        ("Annotations", serde_json::json!({ "a": "b" })),
        ("BlkioWeight", 0.into()),
        ("BlkioDeviceReadBps", serde_json::json!([])),
    ] {
        assert_eq!(host[key], value, "{key}");
    }
    let masked = host["MaskedPaths"].as_array().expect("a list");
    assert!(masked.contains(&"/proc/kcore".into()) && masked.contains(&"/proc/uptime".into()), "{masked:?}");
    assert_eq!(shown[0]["Config"]["Domainname"], "dom");
}

#[test]
fn privileged_own_files_go_where_links_of_the_image_lead() {
    let Some(store) = Store::with_base() else { return };
    fs_err::create_dir(store.path("context")).expect("a folder");
    let file = "FROM scratch\nADD linked.tar /\nRUN [\"/bin/sh\", \"-c\", \"cat /etc/resolv.conf >/dev/null; ls /run /etc\"]\n";
    fs_err::write(store.path("context/Dockerfile"), file).expect("written");
    let mut archive = tar::Builder::new(fs_err::File::create(store.path("context/linked.tar")).expect("a file"));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_mode(0o777);
    header.set_size(0);
    archive.append_link(&mut header, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf").expect("written");
    let mut header = tar::Header::new_gnu();
    let busybox = fs_err::read("/bin/busybox").expect("busybox");
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    for name in ["bin/sh", "bin/cat", "bin/ls"] {
        archive.append_data(&mut header, name, busybox.as_slice()).expect("written");
    }
    archive.into_inner().expect("an archive");
    store.mica(&["build", "-q", "-t", "linked", "context"]).ok();
    let said = store.mica(&["run", "--rm", "--dns", "192.0.2.7", "linked", "/bin/cat", "/etc/resolv.conf"]).ok();
    assert!(said.contains("192.0.2.7"), "{said}");
    assert_eq!(
        store.mica(&["run", "--rm", "--network", "host", "linked", "/bin/ls", "/run/systemd/resolve"]).ok(),
        "stub-resolv.conf"
    );
}
