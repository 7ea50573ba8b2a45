//! What a container sees by default, item by item, and what single flags change of it.

use std::process::Command;

use anyhow::Result;

use super::probe::{self, Facts};
use super::report::Report;
use crate::mica::Sandbox;

/// Docker's fourteen capabilities.
const DEFAULT: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

const HIDDEN: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What must not be opened for writing.
const UNWRITABLE: [&str; 21] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/bus/pci/devices",
    "/proc/fs/ext4",
    "/proc/kmem",
    "/dev/mem",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/ksm/run",
    "/sys/power/state",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/release_agent",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/devices/devices.allow",
    "/sys/fs/cgroup/pids/pids.max",
    "/sys/fs/cgroup/memory/cgroup.procs",
    "/sys/fs/cgroup/systemd/release_agent",
];

/// The devices of every container with their numbers.
const DEVICES: [(&str, &str); 6] =
    [("full", "1:7"), ("null", "1:3"), ("random", "1:8"), ("tty", "5:0"), ("urandom", "1:9"), ("zero", "1:5")];

/// All of it.
pub fn run(sandbox: &Sandbox, probe: &std::path::Path, report: &mut Report) -> Result<()> {
    let host = probe::here(probe)?;
    let run = |flags: &[&str]| run_noisy(sandbox, flags);
    let container = run(&[])?;
    everything("run", &container, &host, report);
    let id = sandbox.read(&["run", "-d", "--network", "none", "probe", "/bin/sleep", "600"])?;
    let entered = probe::facts(&mut noisy(sandbox, &[&["exec", &id][..], &words()].concat()))?;
    everything("exec", &entered, &host, report);
    sandbox.read(&["rm", "-f", &id])?;
    flags(&run, &host, report)
}

/// What the probe sees in a container with these flags, started by the worst of callers.
pub fn run_noisy(sandbox: &Sandbox, flags: &[&str]) -> Result<Facts> {
    probe::facts(&mut noisy(sandbox, &[&["run", "--rm", "--network", "none"], flags, &["probe"], &words()].concat()))
}

fn flags(run: &dyn Fn(&[&str]) -> Result<Facts>, host: &Facts, report: &mut Report) -> Result<()> {
    let held = |facts: &Facts| {
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
            .map(|set| facts.one(&format!("status.{set}")).to_owned())
            .join(" ")
    };
    for (flags, expected) in [
        (&["--user", "1000"][..], [NONE, NONE, NONE, DEFAULT, NONE]),
        (&["--user", "user"], [NONE, NONE, NONE, DEFAULT, NONE]),
        (&["--cap-drop", "ALL"], [NONE; 5]),
        (
            &["--cap-drop", "ALL", "--cap-add", "CHOWN"],
            [NONE, "0000000000000001", "0000000000000001", "0000000000000001", NONE],
        ),
        (&["--user", "1000", "--cap-add", "NET_ADMIN"], [NONE, NONE, NONE, "00000000a80435fb", NONE]),
    ] {
        report.equal(&format!("capabilities with {}", flags.join(" ")), expected.join(" "), held(&run(flags)?));
    }
    let bare = run(&["--security-opt", "seccomp=unconfined"])?;
    report.equal("seccomp=unconfined", "0", bare.one("status.Seccomp"));
    let own = bare.one("keyring") != host.one("keyring");
    report.outcome(
        "session keyring",
        "not the caller's",
        if own { Ok("another".into()) } else { Err("the caller's".into()) },
    );
    let plain = run(&["--security-opt", "no-new-privileges"])?;
    report.equal(
        "no-new-privileges",
        "1 2",
        format!("{} {}", plain.one("status.NoNewPrivs"), plain.one("status.Seccomp")),
    );
    let identity = |facts: &Facts| format!("{} {}", facts.one("status.Uid"), facts.one("status.Groups"));
    for (flags, expected) in [
        (&["--user", "1000:1000"][..], "1000 1000 1000 1000 1000"),
        (&["--user", "user"], "1000 1000 1000 1000 1000 2000"),
        (&["--user", "1000:1000", "--group-add", "7"], "1000 1000 1000 1000 7 1000"),
        (&["--user", "4242"], "4242 4242 4242 4242 0"),
    ] {
        report.equal(&format!("user and groups with {}", flags.join(" ")), expected, identity(&run(flags)?));
    }
    let suid = |flags: &[&str]| run(&[flags, &["--entrypoint", "/suid"]].concat());
    report.equal("setuid program", "1000 0 0 0", suid(&["--user", "1000"])?.one("status.Uid"));
    report.equal("its capabilities", DEFAULT, suid(&["--user", "1000"])?.one("status.CapEff"));
    let inert = suid(&["--user", "1000", "--security-opt", "no-new-privileges"])?;
    report.equal("setuid program with no-new-privileges", "1000 1000 1000 1000", inert.one("status.Uid"));
    let read_only = run(&["--read-only"])?;
    let root =
        read_only.all("mount").iter().find(|line| line.split(' ').nth(4) == Some("/")).cloned().unwrap_or_default();
    report.equal(
        "--read-only root",
        "ro",
        root.split(' ').nth(5).unwrap_or_default().split(',').next().unwrap_or_default(),
    );
    let privileged = run(&["--privileged"])?;
    report.equal("--privileged has no filter", "0", privileged.one("status.Seccomp"));
    report.equal("--privileged has no inheritable capabilities", NONE, privileged.one("status.CapInh"));
    report.equal("--privileged has no ambient capabilities", NONE, privileged.one("status.CapAmb"));
    let init = run(&["--init"])?;
    report.equal("--init: fds of the program", "0 1 2", init.one("fds"));
    report.equal(
        "--init: signals",
        "0000000000000000 0000000000000000",
        format!("{} {}", init.one("status.SigBlk"), init.one("status.SigIgn")),
    );
    Ok(())
}

fn everything(verb: &str, facts: &Facts, host: &Facts, report: &mut Report) {
    let item = |name: &str| format!("{verb}: {name}");
    for (set, expected) in
        [("CapPrm", DEFAULT), ("CapEff", DEFAULT), ("CapBnd", DEFAULT), ("CapInh", NONE), ("CapAmb", NONE)]
    {
        report.equal(&item(set), expected, facts.one(&format!("status.{set}")));
    }
    for (name, expected) in [
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("NoNewPrivs", "0"),
        ("SigBlk", NONE),
        ("SigIgn", NONE),
        ("Umask", "0022"),
        ("Uid", "0 0 0 0"),
        ("Gid", "0 0 0 0"),
        ("Groups", "0"),
    ] {
        report.equal(&item(name), expected, facts.one(&format!("status.{name}")));
    }
    report.equal(&item("descriptors"), "0 1 2", facts.one("fds"));
    report.equal(&item("environment"), "HOME HOSTNAME PATH", facts.one("env"));
    report.equal(&item("working directory"), "/", facts.one("cwd"));
    if verb == "run" {
        report.equal(&item("process ID"), "1", facts.one("pid"));
        report.equal(&item("program of process 1"), "/probe", facts.one("exe"));
        report.equal(&item("leads its session"), "1", facts.one("status.NSsid").rsplit(' ').next().unwrap_or_default());
    }
    for kind in ["mnt", "pid", "net", "ipc", "uts"] {
        let name = format!("ns.{kind}");
        let own = facts.one(&name) != host.one(&name) && !facts.one(&name).is_empty();
        report.outcome(
            &item(&format!("{kind} namespace")),
            "its own",
            if own { Ok("its own".into()) } else { Err("the host's".into()) },
        );
    }
    for (name, found) in facts.under("call.") {
        let expected = match name {
            "clone3" => "38",
            "socket_inet" => "0",
            _ => "1",
        };
        report.equal(&item(&format!("errno of {name}")), expected, found);
    }
    for (path, found) in facts.under("hidden.") {
        let empty = ["absent", "0 bytes", "0 entries"].contains(&found);
        report.outcome(
            &item(&format!("hidden {path}")),
            "absent or empty",
            if empty { Ok(found.into()) } else { Err(found.into()) },
        );
    }
    for (path, found) in facts.under("write.") {
        let refused = found != "0";
        report.outcome(
            &item(&format!("writing {path}")),
            "an error",
            if refused { Ok(format!("errno {found}")) } else { Err("opened".into()) },
        );
    }
    mounts(verb, facts, report);
    devices(verb, facts, report);
}

fn mounts(verb: &str, facts: &Facts, report: &mut Report) {
    let lines = facts.all("mount");
    let shared: Vec<&String> = lines.iter().filter(|line| line.contains(" shared:")).collect();
    report.equal(&format!("{verb}: shared mounts"), "0", shared.len().to_string());
    for (path, wanted) in [
        ("/proc", &["nosuid", "nodev", "noexec"][..]),
        ("/dev", &["nosuid"]),
        ("/dev/pts", &["nosuid", "noexec"]),
        ("/dev/shm", &["nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", &["nosuid", "nodev", "noexec"]),
        ("/sys", &["ro", "nosuid", "nodev", "noexec"]),
        ("/sys/fs/cgroup", &["ro", "nosuid", "nodev", "noexec"]),
        ("/proc/sys", &["ro"]),
        ("/proc/bus", &["ro"]),
        ("/proc/fs", &["ro"]),
        ("/proc/irq", &["ro"]),
        ("/proc/sysrq-trigger", &["ro"]),
    ] {
        // Not every kernel has it, and what is not there needs no mount.
        if facts.one(&format!("write.{path}")) == "2" {
            continue;
        }
        // The last mount at a place is the one that is seen.
        let line = lines.iter().rfind(|line| line.split(' ').nth(4) == Some(path));
        let options = line.and_then(|line| line.split(' ').nth(5)).unwrap_or("not mounted");
        let has_all = wanted.iter().all(|option| options.split(',').any(|own| own == *option));
        let found = options.to_owned();
        report.outcome(
            &format!("{verb}: mount of {path}"),
            &wanted.join(","),
            if has_all { Ok(found) } else { Err(found) },
        );
    }
}

fn devices(verb: &str, facts: &Facts, report: &mut Report) {
    let names: Vec<&str> = facts.one("dev").split(' ').filter(|name| *name != "core").collect();
    let wanted = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    report.equal(&format!("{verb}: /dev"), wanted, names.join(" "));
    for (name, number) in DEVICES {
        report.equal(&format!("{verb}: /dev/{name}"), number, facts.one(&format!("dev.{name}")));
    }
}

/// The probe with what it is to look at.
pub fn words() -> Vec<&'static str> {
    static WORDS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let all = WORDS.get_or_init(|| {
        let hidden = HIDDEN.iter().map(|path| format!("hidden={path}"));
        let writes = UNWRITABLE.iter().map(|path| format!("write={path}"));
        let first = ["/probe", "calls"].map(str::to_owned).into_iter();
        first.chain(hidden).chain(writes).collect()
    });
    all.iter().map(String::as_str).collect()
}

/// A command of mica's under a caller with everything a container must not inherit: open descriptors, a umask, an ignored
/// signal, a secret in the environment.
fn noisy(sandbox: &Sandbox, args: &[&str]) -> Command {
    let inner = sandbox.command(args);
    let mut command = Command::new("bash");
    command.args([
        "-c",
        "exec 7</etc/passwd 8>/dev/null 33</etc 44</; umask 077; trap '' INT HUP; cd /etc; exec \"$@\"",
        "bash",
    ]);
    command.arg(inner.get_program()).args(inner.get_args()).env("MICA_CANARY_SECRET", "host").env("LISTEN_FDS", "5");
    command
}
