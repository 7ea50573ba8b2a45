//! What is done to containers that run: `pause`, `top`, `stats`, `update`, and what `wait` can wait for.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::{Store, until};

fn status(store: &Store) -> String {
    store.mica(&["inspect", "-f", "{{.State.Status}}", "cc"]).ok()
}

#[test]
fn privileged_paused_containers_stand_still() {
    let Some(store) = Store::with_base() else { return };
    let script = "i=0; while :; do i=$((i+1)); echo $i > /data/count; sleep 0.01; done";
    store.background(&["--name", "cc", "base", "sh", "-c", script]);
    let pid = store.mica(&["inspect", "-f", "{{.State.Pid}}", "cc"]).ok();
    let count = || fs_err::read_to_string(format!("/proc/{pid}/root/data/count")).unwrap_or_default();
    until("the first count", || !count().is_empty());
    assert_eq!(store.mica(&["pause", "cc"]).ok(), "cc");
    assert_eq!(status(&store), "paused");
    assert!(store.mica(&["ps", "--format", "{{.Status}}"]).ok().ends_with(" (Paused)"));
    let before = count();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(count(), before, "nothing moves");
    store.mica(&["pause", "cc"]).fails(1, "is already paused");
    assert_eq!(store.mica(&["unpause", "--all"]).ok(), "cc");
    until("the next count", || count() != before);
    store.mica(&["unpause", "cc"]).fails(1, "is not paused");
    // What ends a container reaches it also while it stands still.
    for line in [&["stop", "-t", "0", "cc"][..], &["kill", "cc"]] {
        store.mica(&["pause", "cc"]).ok();
        store.mica(line).ok();
        assert_eq!(store.mica(&["wait", "cc"]).ok(), "137");
        store.mica(&["start", "cc"]).ok();
    }
    store.mica(&["pause", "cc"]).ok();
    assert_eq!(store.mica(&["rm", "-f", "cc"]).ok(), "cc");
}

#[test]
fn privileged_processes_and_figures_are_the_containers_own() {
    let Some(store) = Store::with_base() else { return };
    store.background(&["--name", "cc", "--memory", "64m", "base", "sh", "-c", "sleep 601 & sleep 602 & wait"]);
    until("both processes", || store.mica(&["top", "cc"]).stdout.lines().count() == 4);
    let top = store.mica(&["top", "cc", "-o", "pid,args"]).ok();
    assert!(top.starts_with("PID ") && top.contains("sleep 601") && !top.contains("mica"), "{top}");
    store.mica(&["top", "cc", "-o", "args"]).fails(1, "PID");
    let table = store.mica(&["stats", "--no-stream"]).ok();
    let heading: Vec<&str> =
        table.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    let wanted = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
    assert_eq!(heading, wanted);
    let line = store.mica(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "cc"]).ok();
    assert!(line.starts_with("cc 3 ") && line.ends_with(" / 64MiB"), "{line}");
    store.mica(&["create", "--name", "dd", "base"]).ok();
    let names =
        |flags: &[&str]| store.mica(&[&["stats", "--no-stream", "--format", "{{.Name}}"][..], flags].concat()).ok();
    assert_eq!((names(&[]).as_str(), names(&["-a"]).as_str()), ("cc", "dd\ncc"));
}

#[test]
fn privileged_limits_and_policies_change_while_it_runs() {
    let Some(store) = Store::with_base() else { return };
    let trap = "trap 'exit 4' USR1; echo up; while :; do sleep 0.05; done";
    store.background(&["--name", "cc", "--memory", "64m", "base", "sh", "-c", trap]);
    let flags = ["--memory", "32m", "--pids-limit", "50", "--cpus", "0.5", "--restart", "always"];
    assert_eq!(store.mica(&[&["update"][..], &flags, &["cc"]].concat()).ok(), "cc");
    let limit = || {
        let line = store.mica(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "cc"]).ok();
        line.rsplit_once(" / ").map(|(_, limit)| limit.to_owned()).unwrap_or_default()
    };
    assert_eq!(limit(), "32MiB");
    let recorded =
        "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(store.mica(&["inspect", "-f", recorded, "cc"]).ok(), "33554432 50 500000000 always");
    // The policy holds for the process that runs, the limits for the next one too.
    until("the process to be up", || store.mica(&["logs", "cc"]).stdout == "up\n");
    store.mica(&["kill", "-s", "USR1", "cc"]).ok();
    until("the next process", || store.mica(&["logs", "cc"]).stdout == "up\nup\n");
    assert_eq!(limit(), "32MiB");
    store.mica(&["update", "--memory", "128m", "cc"]).ok();
    assert_eq!(limit(), "128MiB", "raised, with the limit of swap before it");
    store.mica(&["update", "--cpu-quota", "20000", "cc"]).fails(1, "CPU Quota cannot both be set");
    store.background(&["--name", "ee", "--cpu-period", "40000", "base", "sleep", "600"]);
    store.mica(&["update", "--cpu-quota", "20000", "ee"]).ok();
    let shown = "cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us)";
    assert_eq!(store.mica(&["exec", "ee", "sh", "-c", shown]).ok(), "20000 40000");
    assert_eq!(
        store.mica(&["inspect", "-f", "{{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}}", "ee"]).ok(),
        "20000 40000"
    );
    store.mica(&["update", "cc"]).fails(1, "one or more flags");
    store.mica(&["update", "--memory", "1k", "cc"]).fails(1, "minimum memory limit");
    store.background(&["--rm", "--name", "dd", "base", "sleep", "600"]);
    store.mica(&["update", "--restart", "always", "dd"]).fails(1, "`--rm` is set");
}

#[test]
fn privileged_waiting_for_more_than_an_end() {
    let Some(store) = Store::with_base() else { return };
    let wait = |condition: &str| {
        let mut command = store.command(&["wait", "--condition", condition, "cc"]);
        command.stdout(Stdio::piped()).spawn().expect("it starts")
    };
    let code = |child: std::process::Child| {
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text").trim().to_owned()
    };
    let script = "until test -e /data/go; do sleep 0.02; done; sleep 0.2; exit 6";
    store.mica(&["create", "--name", "cc", "base", "sh", "-c", script]).ok();
    assert_eq!(code(wait("not-running")), "0");
    let running = wait("running");
    store.mica(&["start", "cc"]).ok();
    assert_eq!(code(running), "0");
    store.mica(&["exec", "cc", "touch", "/data/go"]).ok();
    until("the end", || status(&store) == "exited");
    // It may begin to wait late, so the container runs until it has seen an end.
    let mut next = wait("next-exit");
    until("an end that is seen", || {
        store.mica(&["start", "cc"]).ok();
        next.try_wait().expect("a child").is_some()
    });
    assert_eq!(code(next), "6");
    until("the end", || status(&store) == "exited");
    store.mica(&["rm", "cc"]).ok();
    let health = ["--health-cmd", "test -e /data/good", "--health-interval", "20ms"];
    store.background(&[&health[..], &["--name", "cc", "base", "sleep", "600"]].concat());
    assert_eq!(code(wait("unhealthy")), "0");
    let healthy = wait("healthy");
    store.mica(&["exec", "cc", "touch", "/data/good"]).ok();
    assert_eq!(code(healthy), "0");
    store.mica(&["wait", "--condition", "asleep", "cc"]).fails(125, "invalid condition");
}

/// Reads a file of version 1 where the container sees its control groups.
fn group(store: &Store, file: &str) -> String {
    store.mica(&["exec", "cc", "cat", &format!("/sys/fs/cgroup/{file}")]).ok()
}

#[test]
fn privileged_every_limit_of_update_reaches_the_control_group() {
    let Some(store) = Store::with_base() else { return };
    // What is looked at are the files of version 1; those of version 2 are beside the code that writes them.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return;
    }
    store.background(&["--name", "cc", "--memory", "64m", "base", "sleep", "600"]);
    for (flags, file, expected) in [
        (&["--memory", "48m"][..], "memory/memory.limit_in_bytes", "50331648"),
        (&["--memory-swap", "96m"], "memory/memory.memsw.limit_in_bytes", "100663296"),
        (&["--memory-reservation", "32m"], "memory/memory.soft_limit_in_bytes", "33554432"),
        (&["--memory-swappiness", "7"], "memory/memory.swappiness", "7"),
        (&["--cpu-shares", "300"], "cpu/cpu.shares", "300"),
        (&["--cpu-period", "50000"], "cpu/cpu.cfs_period_us", "50000"),
        (&["--cpu-quota", "20000"], "cpu/cpu.cfs_quota_us", "20000"),
        (&["--cpu-quota", "-1"], "cpu/cpu.cfs_quota_us", "-1"),
        (&["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "0"),
        (&["--cpuset-mems", "0"], "cpuset/cpuset.mems", "0"),
        (&["--pids-limit", "33"], "pids/pids.max", "33"),
        (&["--pids-limit", "-1"], "pids/pids.max", "max"),
    ] {
        let done = store.mica(&[&["update"], flags, &["cc"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{flags:?}");
        assert_eq!(group(&store, file), expected, "{flags:?}");
    }
    let kernels = store.mica(&["update", "--kernel-memory", "50m", "--pids-limit", "34", "cc"]);
    assert!(kernels.code == 0 && kernels.stderr.contains("--kernel-memory has been deprecated"), "{kernels:#?}");
    for (flags, words) in [
        (&["--cpus", "0.5"][..], "cannot both be set"),
        (&["--memory", "200m"], "update the memoryswap at the same time"),
        (&["--memory", "200m", "--memory-swap", "100m"], "memoryswap limit should be larger"),
        (&["--memory", "1m"], "minimum memory limit allowed is 6MB"),
        (&["--cpus", "4096"], "CPUs available"),
        (&["--blkio-weight", "5"], "range of blkio weight is from 10 to 1000"),
        (&["--cpu-rt-period", "100000", "--cpu-rt-runtime", "200000"], "cannot be higher than cpu real-time period"),
        (&["--memory-swappiness", "200"], "valid memory swappiness range is 0-100"),
        (&["--device-read-bps", "/dev/null:1mb"], "is not a block device"),
        (&["--kernel-memory", "50m"], "must provide one or more flags"),
    ] {
        store.mica(&[&["update"], flags, &["cc"]].concat()).fails(1, words);
    }
    let weights = ["/sys/fs/cgroup/blkio/blkio.weight", "/sys/fs/cgroup/blkio/blkio.bfq.weight"];
    let weighed = store.mica(&["update", "--blkio-weight", "300", "cc"]);
    match weights.iter().find(|file| Path::new(file).exists()) {
        Some(file) => assert_eq!(group(&store, file.trim_start_matches("/sys/fs/cgroup/")), "300"),
        None => assert!(weighed.code == 0 && weighed.stderr.contains("Weight discarded"), "{weighed:#?}"),
    }
    if let Some(device) = crate::flags::block_device() {
        let number = rustix::fs::stat(&device).expect("a device").st_rdev;
        let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        for rate in ["1mb", "2mb"] {
            store.mica(&["update", "--device-write-bps", &format!("{}:{rate}", device.display()), "cc"]).ok();
        }
        let line = || group(&store, "blkio/blkio.throttle.write_bps_device");
        assert_eq!(line(), format!("{number} 2097152"));
        // What is not about block devices leaves their limits alone, for the next process too.
        store.mica(&["update", "--pids-limit", "35", "cc"]).ok();
        store.mica(&["restart", "-t", "0", "cc"]).ok();
        assert_eq!((line(), group(&store, "pids/pids.max")), (format!("{number} 2097152"), "35".to_owned()));
    }
}

#[test]
fn privileged_real_time_is_given_while_it_runs() {
    let Some(store) = Store::with_base() else { return };
    // Only version 1 has groups of the real-time scheduler, and not in every kernel.
    let Some(parent) = RealTime::new() else {
        store.background(&["--name", "cc", "base", "sleep", "600"]);
        return store.mica(&["update", "--cpu-rt-runtime", "4000", "cc"]).fails(1, "real-time scheduler");
    };
    store.background(&["--name", "cc", "--cgroup-parent", &parent.name(), "base", "sleep", "600"]);
    let shown = || (group(&store, "cpu/cpu.rt_period_us"), group(&store, "cpu/cpu.rt_runtime_us"));
    assert_eq!(shown().1, "0");
    store.mica(&["update", "--cpu-rt-runtime", "4000", "cc"]).ok();
    assert_eq!(shown(), ("1000000".to_owned(), "4000".to_owned()));
    store.mica(&["update", "--cpu-rt-period", "500000", "--cpu-rt-runtime", "3000", "cc"]).ok();
    assert_eq!(shown(), ("500000".to_owned(), "3000".to_owned()));
    let recorded = "{{.HostConfig.CpuRealtimePeriod}} {{.HostConfig.CpuRealtimeRuntime}}";
    assert_eq!(store.mica(&["inspect", "-f", recorded, "cc"]).ok(), "500000 3000");
    // More than the group above has.
    store.mica(&["update", "--cpu-rt-runtime", "400000", "cc"]).fails(1, "cpu.rt_runtime_us");
    assert_eq!(store.mica(&["inspect", "-f", recorded, "cc"]).ok(), "500000 3000", "what was refused is not recorded");
    store.mica(&["rm", "-f", "cc"]).ok();
}

/// A group with time of the real-time scheduler to give away.
struct RealTime(PathBuf);

impl RealTime {
    fn new() -> Option<Self> {
        let group = Path::new("/sys/fs/cgroup/cpu").join(format!("mica-test-{}", std::process::id()));
        if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
            return None;
        }
        fs_err::create_dir(&group).ok()?;
        let parent = Self(group);
        fs_err::write(parent.0.join("cpu.rt_runtime_us"), "10000").ok()?;
        Some(parent)
    }

    fn name(&self) -> String {
        format!("/{}", self.0.file_name().unwrap_or_default().to_string_lossy())
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        // The other hierarchies have the same group since a container was in it.
        for hierarchy in fs_err::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            fs_err::remove_dir(hierarchy.path().join(self.0.file_name().unwrap_or_default())).ok();
        }
    }
}
