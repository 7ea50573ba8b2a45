//! Flags to a [`ContainerSpec`]: every option string is parsed, every file that a flag names is read.

mod entries;
mod mount;

use std::path::Path;

use mica_engine::container::{
    self, ContainerSpec, LogDriver, MountSpec, NetworkMode, Resources, parse_add_host, parse_cpus, parse_device,
    parse_log_option, parse_security_option, parse_size, parse_sysctl, parse_tmpfs, parse_ulimit,
};

use crate::args::container::{ContainerArgs, LimitArgs, StreamName};

pub use entries::{Entries, environment, labels, pairs};

/// The container that flags ask for.
pub fn container(args: &ContainerArgs, default_network: &str) -> anyhow::Result<ContainerSpec> {
    if args.publish_all {
        anyhow::bail!(
            "publishing ports needs a bridge network, which this version of mica lacks: use `--network host`"
        );
    }
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
    let default_network = if default_network == "host" { NetworkMode::Host } else { NetworkMode::None };
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
        read_only: args.read_only,
        network: args.network.unwrap_or(default_network),
        init: args.init,
        stop_signal: args.stop_signal.clone(),
        stop_timeout: args.stop_timeout,
        auto_remove: args.rm,
        platform: args.platform.clone(),
        runtime: args.runtime.clone(),
        group_add: args.group_add.clone(),
        ..ContainerSpec::default()
    };
    limits(&mut spec, &args.limits)?;
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
    spec.devices = args.devices.iter().map(|text| parse_device(text)).collect::<Result<_, _>>()?;
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
    };
    spec.log.driver = args.log_driver.unwrap_or(LogDriver::JsonFile);
    for option in &args.log_options {
        parse_log_option(spec, option)?;
    }
    Ok(())
}

/// A size, or -1 for no limit.
fn bytes(text: &str) -> anyhow::Result<i64> {
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
    use mica_engine::container::{MountSource, SeccompChoice};

    use super::*;
    use crate::args::{Cli, Command};

    fn spec(line: &[&str]) -> anyhow::Result<ContainerSpec> {
        let cli = Cli::try_parse_from(["mica", "run"].iter().chain(line))?;
        match cli.command {
            Command::Run(run) => container(&run.container, "none"),
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
        assert_eq!(spec.log.max_size, Some(1 << 20));
    }

    #[test]
    fn wrong_values_are_refused_with_the_value() {
        let cases: &[(&[&str], &str)] = &[
            (&["-v", "a/b:/c", "img"], "a/b"),
            (&["-v", "/a:rel", "img"], "must be absolute"),
            (&["--tmpfs", "/t:bad=1", "img"], "bad=1"),
            (&["--network", "bridge", "img"], "use `none` or `host`"),
            (&["-p", "80:80", "img"], "use `--network host`"),
            (&["-P", "img"], "use `--network host`"),
            (&["--restart", "always", "img"], "does not restart"),
            (&["--memory", "x", "img"], "invalid size: `x`"),
            (&["--cpus", "0", "img"], "invalid number of processors"),
            (&["--security-opt", "what=ever", "img"], "what=ever"),
            (&["--mount", "type=nfs,target=/x", "img"], "nfs"),
            (&["--gpus", "all", "img"], "--gpus"),
            (&[], "IMAGE"),
        ];
        for (line, expected) in cases {
            let error = spec(line).expect_err(&line.join(" "));
            assert!(format!("{error:#}").contains(expected), "{line:?}: {error:#}");
        }
    }

    #[test]
    fn flags_end_at_the_image() {
        let spec = spec(&["img", "--rm", "-it", "--", "x"]).expect("valid");
        assert_eq!(spec.command, ["--rm", "-it", "--", "x"]);
        assert!(!spec.auto_remove && !spec.tty);
    }
}
