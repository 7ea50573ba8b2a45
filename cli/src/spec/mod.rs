//! Flags to a [`ContainerSpec`]: every option string is parsed, every file that a flag names is read.

mod devices;
mod entries;
mod mount;
mod network;
mod resources;

use std::path::Path;

use mica_engine::container::{
    self, ContainerSpec, LogDriver, MountSpec, Resources, parse_add_host, parse_cpus, parse_log_option,
    parse_security_option, parse_size, parse_storage_option, parse_sysctl, parse_tmpfs, parse_ulimit,
};

use crate::args::container::{ContainerArgs, LimitArgs, StreamName};
use crate::args::logging::LoggingArgs;

pub use entries::{Entries, environment, labels, pairs};
pub use resources::adjustable;

/// What holds where no flag says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// The network.
    pub network: &'a str,
    /// How much the container may write.
    pub size: Option<&'a str>,
}

/// The container that flags ask for.
pub fn container(args: &ContainerArgs, defaults: Defaults<'_>) -> anyhow::Result<ContainerSpec> {
    let Some((image, command)) = args.words.split_first() else {
        anyhow::bail!("no image was named");
    };
    let Entries { set, unset } = environment(&args.env_file, &args.env)?;
    let mut mounts: Vec<MountSpec> = args.volume.iter().map(|text| mount::volume(text)).collect::<Result<_, _>>()?;
    let mut tmpfs = args.tmpfs.iter().map(|text| parse_tmpfs(text)).collect::<Result<Vec<_>, _>>()?;
    for text in &args.mount {
        match mount::parse(text)? {
            mount::Mount::Volume(mount) => mounts.push(mount),
            mount::Mount::Tmpfs(mount) => tmpfs.push(mount),
        }
    }
    let mut spec = ContainerSpec {
        image: image.clone(),
        name: args.name.clone(),
        command: command.to_vec(),
        entrypoint: args.entrypoint.clone().map(|word| vec![word]),
        env: set,
        env_remove: unset,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        hostname: args.hostname.clone(),
        labels: labels(&args.label_file, &args.label)?,
        tty: args.tty,
        stdin_open: args.interactive || args.attach.contains(&StreamName::Stdin),
        mounts,
        tmpfs,
        volumes_from: args.volumes.volumes_from.clone(),
        volume_driver: args.volumes.volume_driver.clone(),
        read_only: args.read_only,
        init: args.init,
        stop_signal: args.stop_signal.clone(),
        stop_timeout: args.stop_timeout,
        restart: args.restarting.restart,
        health: args.health.check(),
        auto_remove: args.rm,
        platform: args.platform.clone(),
        runtime: args.runtime.clone(),
        group_add: args.group_add.clone(),
        ..ContainerSpec::default()
    };
    if let Some(size) = defaults.size {
        spec.storage.size = Some(parse_size(size)?);
    }
    network::apply(&mut spec, &args.networking, defaults.network)?;
    limits(&mut spec, &args.limits)?;
    logging(&mut spec, &args.logging)?;
    devices::apply(&mut spec, &args.limits.devices, &args.resources.gpus)?;
    resources::resources(&mut spec, &args.resources)?;
    resources::namespaces(&mut spec, &args.namespaces)?;
    Ok(spec)
}

fn limits(spec: &mut ContainerSpec, args: &LimitArgs) -> anyhow::Result<()> {
    spec.cap_add.clone_from(&args.cap_add);
    spec.cap_drop.clone_from(&args.cap_drop);
    spec.privileged = args.privileged;
    for option in &args.security_options {
        parse_security_option(spec, option, &read_profile)?;
    }
    spec.ulimits = args.ulimits.iter().map(|text| parse_ulimit(text)).collect::<Result<_, _>>()?;
    spec.sysctls = args.sysctls.iter().map(|text| parse_sysctl(text)).collect::<Result<_, _>>()?;
    spec.add_hosts = args.add_hosts.iter().map(|text| parse_add_host(text)).collect::<Result<_, _>>()?;
    spec.dns.clone_from(&args.dns);
    spec.dns_search.clone_from(&args.dns_search);
    spec.dns_options.clone_from(&args.dns_options);
    spec.shm_size = args.shm_size.as_deref().map(parse_size).transpose()?;
    spec.oom_score_adj = args.oom_score_adj;
    spec.resources = Resources {
        memory: args.memory.as_deref().map(bytes).transpose()?,
        memory_swap: args.memory_swap.as_deref().map(bytes).transpose()?,
        memory_reservation: args.memory_reservation.as_deref().map(bytes).transpose()?,
        milli_cpus: args.cpus.as_deref().map(parse_cpus).transpose()?,
        cpu_shares: args.cpu_shares,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        pids: args.pids_limit,
        ..Resources::default()
    };
    for option in &args.storage_options {
        parse_storage_option(spec, option)?;
    }
    Ok(())
}

fn logging(spec: &mut ContainerSpec, args: &LoggingArgs) -> anyhow::Result<()> {
    spec.log.driver = args.log_driver.unwrap_or(LogDriver::JsonFile);
    for option in &args.log_options {
        parse_log_option(spec, option)?;
    }
    container::check_log_options(&spec.log)?;
    Ok(())
}

/// A size, or -1 for no limit.
pub fn bytes(text: &str) -> anyhow::Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    Ok(i64::try_from(container::parse_size(text)?)?)
}

fn read_profile(path: &Path) -> mica_engine::Result<String> {
    fs_err::read_to_string(path).map_err(mica_engine::Error::io("read", path))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mica_engine::container::{
        CgroupnsMode, IpcMode, MountSource, Namespaces, NetworkMode, PidMode, SeccompChoice, StorageLimits, UtsMode,
    };

    use super::*;
    use crate::args::{Cli, Command};

    fn spec(line: &[&str]) -> anyhow::Result<ContainerSpec> {
        let cli = Cli::try_parse_from(["mica", "run"].iter().chain(line))?;
        match cli.command {
            Command::Run(run) => container(&run.container, Defaults { network: "none", size: Some("10G") }),
            other => anyhow::bail!("parsed as {other:?}"),
        }
    }

    #[test]
    fn every_flag_reaches_the_spec() {
        let spec = spec(&[
            "-it",
            "--rm",
            "--name",
            "n",
            "-e",
            "A=1",
            "-w",
            "/w",
            "-u",
            "1:2",
            "--entrypoint",
            "/e",
            "-v",
            "/h:/c:ro",
            "--tmpfs",
            "/t:size=1m",
            "--read-only",
            "--network",
            "host",
            "-h",
            "host",
            "-l",
            "a=b",
            "--init",
            "--cap-add",
            "NET_ADMIN",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--security-opt",
            "seccomp=unconfined",
            "--ulimit",
            "nofile=1:2",
            "-m",
            "64m",
            "--cpus",
            "1.5",
            "--pids-limit",
            "-1",
            "--storage-opt",
            "size=1.5G",
            "--storage-opt",
            "inodes=7",
            "--shm-size",
            "1k",
            "--stop-signal",
            "INT",
            "--stop-timeout",
            "3",
            "--log-opt",
            "max-size=1m",
            "--dns",
            "1.1.1.1",
            "--add-host",
            "a:1.2.3.4",
            "img",
            "cmd",
            "-x",
        ])
        .expect("valid");
        assert!(
            spec.tty && spec.stdin_open && spec.auto_remove && spec.read_only && spec.init && spec.no_new_privileges
        );
        assert_eq!(
            (spec.image.as_str(), spec.command.as_slice()),
            ("img", ["cmd".to_owned(), "-x".to_owned()].as_slice())
        );
        assert_eq!(spec.name.as_deref(), Some("n"));
        assert_eq!(spec.env, ["A=1"]);
        assert_eq!(spec.entrypoint, Some(vec!["/e".to_owned()]));
        assert!(spec.mounts[0].read_only);
        assert_eq!(spec.mounts[0].source, MountSource::Bind { path: "/h".into(), create: true });
        assert_eq!(spec.tmpfs[0].options, ["size=1m"]);
        assert_eq!(spec.network, NetworkMode::Host);
        assert_eq!(spec.hostname.as_deref(), Some("host"));
        assert_eq!(spec.labels["a"], "b");
        assert_eq!(spec.seccomp, SeccompChoice::Unconfined);
        assert_eq!(spec.resources.memory, Some(64 << 20));
        assert_eq!(spec.resources.milli_cpus, Some(1500));
        assert_eq!(spec.resources.pids, Some(-1));
        assert_eq!(spec.shm_size, Some(1024));
        assert_eq!(spec.storage, StorageLimits { size: Some(3 << 29), inodes: Some(7) });
        assert_eq!(spec.log.max_size, Some(1 << 20));
    }

    #[test]
    fn wrong_values_are_refused_with_the_value() {
        let cases: &[(&[&str], &str)] = &[
            (&["-v", "a/b:/c", "img"], "a/b"),
            (&["-v", "/a:rel", "img"], "must be absolute"),
            (&["--tmpfs", "/t:bad=1", "img"], "bad=1"),
            (&["--network", "a:b=c", "img"], "invalid option `b=c`"),
            (&["--network", "none", "--network", "a", "img"], "go with no other network"),
            (&["--ip", "10.0.0.9", "img"], "need a network"),
            (&["--network", "bridge", "--ip", "10.0.0.9", "img"], "user defined networks only"),
            (&["--network", "bridge", "--network-alias", "x", "img"], "user defined networks"),
            (&["-p", "80:x", "img"], "invalid container port"),
            (&["--link", "a", "img"], "--link"),
            (&["--restart", "always:3", "img"], "can only be used with `on-failure`"),
            (&["--storage-opt", "size=x", "img"], "invalid size: `x`"),
            (&["--storage-opt", "inodes=x", "img"], "invalid number of inodes: `x`"),
            (&["--storage-opt", "quota=simple", "img"], "options of the driver go before the command"),
            (&["--memory", "x", "img"], "invalid size: `x`"),
            (&["--cpus", "0", "img"], "invalid number of processors"),
            (&["--security-opt", "what=ever", "img"], "what=ever"),
            (&["--mount", "type=nfs,target=/x", "img"], "nfs"),
            (&["--gpus", "some", "img"], "count must be an integer"),
            (&["--device", "vendor.com/gpu", "img"], "not an absolute path"),
            (&["--isolation", "hyperv", "img"], "invalid isolation `hyperv`"),
            (&["--ipc", "x", "img"], "invalid IPC mode"),
            (&["--pid", "container:", "img"], "invalid PID mode"),
            (&["--uts", "x", "img"], "invalid UTS mode"),
            (&["--cgroupns", "x", "img"], "invalid cgroup namespace mode"),
            (&["--memory-swappiness", "101", "img"], "range is 0-100"),
            (&["--blkio-weight", "9", "img"], "from 10 to 1000"),
            (&["--device-read-bps", "/x:1", "img"], "bad format for device path"),
            (&["--device-cgroup-rule", "c 1 r", "img"], "invalid device cgroup rule format"),
            (&["--annotation", "a", "img"], "expected `name=value`"),
            (&["--kernel-memory", "x", "img"], "invalid size"),
            (&["--security-opt", "label=type:x", "img"], "SELinux"),
            (&[], "IMAGE"),
        ];
        for (line, expected) in cases {
            let error = spec(line).expect_err(&line.join(" "));
            assert!(format!("{error:#}").contains(expected), "{line:?}: {error:#}");
        }
    }

    #[test]
    fn limits_and_namespaces_reach_the_spec() {
        let line = "--ipc host --pid container:p --uts host --cgroupns private --domainname d --annotation a=b=c \
                    --memory-swappiness 0 --oom-kill-disable --cpu-period 1000 --cpu-quota -1 --cpu-rt-period 9 \
                    --cpu-rt-runtime 8 --blkio-weight 10 --blkio-weight-device /dev/a:20 --device-read-bps /dev/a:1k \
                    --device-write-bps /dev/a:2k --device-read-iops /dev/a:3 --device-write-iops /dev/a:4 \
                    --cgroup-parent /p --isolation default img";
        let spec = spec(&line.split_whitespace().collect::<Vec<_>>()).expect("valid");
        let wanted = Namespaces {
            ipc: IpcMode::Host,
            pid: PidMode::Container("p".into()),
            uts: UtsMode::Host,
            cgroup: Some(CgroupnsMode::Private),
        };
        assert_eq!(spec.namespaces, wanted);
        assert_eq!((spec.domainname.as_deref(), spec.annotations["a"].as_str()), (Some("d"), "b=c"));
        assert_eq!(spec.cgroup_parent.as_deref(), Some("/p"));
        let limits = spec.resources;
        assert_eq!((limits.memory_swappiness, limits.oom_kill_disable), (Some(0), true));
        assert_eq!((limits.cpu_period, limits.cpu_quota), (Some(1000), Some(-1)));
        assert_eq!((limits.cpu_rt_period, limits.cpu_rt_runtime), (Some(9), Some(8)));
        let io = limits.block_io;
        assert_eq!((io.weight, io.weights[0].weight), (Some(10), 20));
        let rates = [&io.read_bps, &io.write_bps, &io.read_iops, &io.write_iops].map(|rates| rates[0].rate);
        assert_eq!(rates, [1024, 2048, 3, 4]);
    }

    #[test]
    fn flags_end_at_the_image() {
        let spec = spec(&["img", "--rm", "-it", "--", "x"]).expect("valid");
        assert_eq!(spec.command, ["--rm", "-it", "--", "x"]);
        assert!(!spec.auto_remove && !spec.tty);
        assert_eq!(spec.storage.size, Some(10 << 30), "the default");
    }
}
