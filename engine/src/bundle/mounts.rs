//! The mounts of a container, in the order in which they are made.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::devices::{self, HostDevice};
use super::host::{CGROUPS, Host};
use super::merge::clean;
use super::seccomp::unbuildable;
use crate::container::{ContainerSpec, IdMappings, IpcMode, MountPoint, NetworkMode, PidMode, Propagation, Recursion};
use crate::{Error, Kind, Result};

/// Where shared memory lies, on the host and in containers.
const SHM: &str = "/dev/shm";

/// Docker's size of `/dev/shm`.
const SHM_SIZE: u64 = 64 << 20;

/// Where the small init appears. Below `/dev`, which is a memory file system, so it leaves no trace in the root.
pub const INIT_TARGET: &str = "/dev/init";

/// Files of `/proc` that may be replaced one by one; anything else there could fool the runtime (CVE-2019-16884).
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// What the mounts are made of.
#[derive(Debug)]
pub struct MountInput<'a> {
    /// The request.
    pub spec: &'a ContainerSpec,
    /// Directory with `hosts`, `hostname` and `resolv.conf`.
    pub files: &'a Path,
    /// Binds, volumes and images with their sources, parents before children.
    pub points: &'a [(MountPoint, PathBuf)],
    /// Devices of the host.
    pub devices: &'a [HostDevice],
    /// Where the monitor puts the `/dev/shm` of another container, when that is shared.
    pub shm: Option<&'a Path>,
    /// Control groups to bind instead of a mount of their file system, each with its place.
    pub groups: &'a [(PathBuf, String)],
    /// A static init, when the container wants one.
    pub init: Option<&'a Path>,
    /// This machine.
    pub host: &'a Host,
    /// The ids of its user namespace, where it has one of its own.
    pub ids: Option<&'a IdMappings>,
}

impl MountInput<'_> {
    /// True where what belongs to the host cannot be mounted anew, because the container's namespaces belong to others.
    fn confined(&self) -> bool {
        self.host.confined || self.ids.is_some()
    }
}

/// All mounts: the kernel's file systems, the container's own files, then what was asked for, parents before children.
pub fn mounts(input: &MountInput<'_>) -> Result<Vec<Mount>> {
    let spec = input.spec;
    let mut asked = Vec::new();
    for (point, source) in input.points {
        asked.push((point.target.clone(), bound(point, source, input.host.recursive_read_only)?));
    }
    for tmpfs in &spec.tmpfs {
        let mut options: Vec<&str> = vec!["noexec", "nosuid", "nodev"];
        for option in &tmpfs.options {
            // The default that an option contradicts goes.
            options.retain(|known| known.trim_start_matches("no") != option);
            options.push(option);
        }
        asked.push((clean(&tmpfs.target), mount("tmpfs", "tmpfs", &tmpfs.target, &options)?));
    }
    for (target, _) in &asked {
        check(target)?;
    }
    // A child mounted first would vanish under its parent; mounts of the same depth keep the order of the request.
    asked.sort_by_key(|(target, _)| target.matches('/').count());
    if let Some(pair) = duplicate(&asked) {
        return Err(Error::refused(Kind::InvalidInput, format!("duplicate mount point: {pair}")));
    }
    let replaced = |target: &str| asked.iter().any(|(own, _)| own == target);
    let mut all = Vec::new();
    for base in base(input)? {
        if !replaced(&base.destination().to_string_lossy()) {
            all.push(base);
        }
    }
    for (file, target) in [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")]
    {
        if !replaced(target) {
            all.push(bind(&input.files.join(file), target, &["rbind", "rprivate"])?);
        }
    }
    for device in input.devices.iter().filter(|device| !devices::is_node(device)) {
        all.push(bind(&device.source, &device.target, &["rbind", "rprivate"])?);
    }
    if let Some(init) = input.init {
        all.push(bind(init, INIT_TARGET, &["rbind", "rprivate", "ro"])?);
    }
    all.extend(asked.into_iter().map(|(_, mount)| mount));
    Ok(all)
}

/// The kernel's file systems, as Docker mounts them.
fn base(input: &MountInput<'_>) -> Result<Vec<Mount>> {
    let (spec, shm) = (input.spec, input.shm);
    let access = if spec.privileged { "rw" } else { "ro" };
    let mut proc = vec!["nosuid", "noexec", "nodev"];
    proc.extend(spec.system_paths.proc_options.iter().map(String::as_str).filter(|option| !option.starts_with("no")));
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    if input.ids.is_some_and(|ids| !ids.has_group(5)) {
        terminals.pop();
    }
    let mut all = vec![
        if input.confined() && spec.namespaces.pid == PidMode::Host {
            // A new one would show processes that are not of this user namespace, which the kernel refuses.
            mount("bind", "/proc", "/proc", &["rbind", "rslave", "nosuid", "noexec", "nodev"])?
        } else {
            mount("proc", "proc", "/proc", &proc)?
        },
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount("devpts", "devpts", "/dev/pts", &terminals)?,
    ];
    if input.confined() && spec.network == NetworkMode::Host {
        // sysfs shows a network, and belongs to that network's user namespace: here the machine's.
        all.push(mount("bind", "/sys", "/sys", &["rbind", "rslave", "nosuid", "noexec", "nodev", "ro", "rro"])?);
    } else {
        all.push(mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", access])?);
    }
    if !input.host.groups && !input.host.cgroup_v2 {
        // Version 1 has nothing to show but the groups of others.
    } else if input.groups.is_empty() {
        all.push(mount("cgroup", "cgroup", CGROUPS, &[access, "nosuid", "noexec", "nodev"])?);
    } else {
        all.push(mount("tmpfs", "tmpfs", CGROUPS, &["nosuid", "noexec", "nodev", "mode=755"])?);
        for (source, target) in input.groups {
            all.push(bind(source, target, &["rbind", "rprivate"])?);
        }
    }
    // Queues are those of an IPC namespace, and only who belongs to its user namespace may mount them.
    if !(input.ids.is_some() && spec.namespaces.ipc == IpcMode::Host) {
        all.push(mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"])?);
    }
    let size = format!("size={}", spec.shm_size.unwrap_or(SHM_SIZE));
    match (&spec.namespaces.ipc, shm) {
        (IpcMode::None, _) => {}
        (IpcMode::Host, _) => all.push(bind(Path::new(SHM), SHM, &["rbind", "rprivate"])?),
        (IpcMode::Container(_), Some(shm)) => all.push(bind(shm, SHM, &["rbind", "rprivate"])?),
        _ => all.push(mount("tmpfs", "shm", SHM, &["nosuid", "noexec", "nodev", "mode=1777", &size])?),
    }
    Ok(all)
}

/// What was asked for as a bind. `recursive` is whether the kernel can make a whole tree read-only.
fn bound(point: &MountPoint, source: &Path, recursive: bool) -> Result<Mount> {
    let tree = if point.recursion == Recursion::Disabled { "bind" } else { "rbind" };
    let mut options = vec![tree, point.propagation.unwrap_or(Propagation::Rprivate).word()];
    if point.read_only {
        options.push("ro");
        // Plain `ro` leaves what is mounted below the source writable.
        match point.recursion {
            Recursion::Enabled | Recursion::ReadOnly if recursive => options.push("rro"),
            Recursion::ReadOnly => {
                return Err(Error::refused(
                    Kind::Unsupported,
                    format!("`{}` cannot be made read-only with all that is mounted below it", point.target),
                )
                .with_hint("this needs Linux 5.12; `bind-recursive=writable` leaves what is below it writable"));
            }
            _ => {}
        }
    }
    bind(source, &point.target, &options)
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Result<Mount> {
    let source = source.to_str().ok_or_else(|| {
        Error::refused(
            Kind::InvalidInput,
            format!("the path `{}` is not UTF-8, which an OCI configuration needs", source.display()),
        )
    })?;
    mount("bind", source, target, options)
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Result<Mount> {
    MountBuilder::default()
        .destination(clean(target))
        .typ(kind)
        .source(source)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
        .map_err(unbuildable)
}

fn check(target: &str) -> Result<()> {
    let below_proc = target == "/proc" || target.starts_with("/proc/");
    if below_proc && !PROC_FILES.contains(&target) {
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("`{target}` cannot be mounted because it is inside `/proc`"),
        ));
    }
    Ok(())
}

fn duplicate(asked: &[(String, Mount)]) -> Option<&str> {
    let mut seen = std::collections::HashSet::new();
    asked.iter().map(|(target, _)| target.as_str()).find(|target| !seen.insert(*target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{mount_points, parse_tmpfs, parse_volume};

    fn listed(spec: &ContainerSpec, init: Option<&Path>) -> Result<Vec<String>> {
        listed_on(spec, init, &Host { recursive_read_only: true, groups: true, ..Host::default() })
    }

    fn listed_on(spec: &ContainerSpec, init: Option<&Path>, host: &Host) -> Result<Vec<String>> {
        let points = mount_points(spec, &[]).into_iter().map(|point| {
            let crate::container::PointSource::Bind(path, _) = &point.source else { panic!("{point:?}") };
            let path = path.clone();
            (point, path)
        });
        let points: Vec<_> = points.collect();
        let input = MountInput {
            spec,
            files: Path::new("/s"),
            points: &points,
            devices: &[],
            shm: Some(Path::new("/run/c/shm")),
            groups: &[],
            init,
            host,
            ids: None,
        };
        let line = |m: &Mount| {
            let options = m.options().as_ref().unwrap().join(",");
            format!("{} {} {options}", m.source().as_ref().unwrap().display(), m.destination().display())
        };
        Ok(mounts(&input)?.iter().map(line).collect())
    }

    #[test]
    fn a_user_namespace_shows_what_belongs_to_it() {
        let host = Host { confined: true, ..Host::default() };
        let own = listed_on(&ContainerSpec::default(), None, &host).unwrap();
        assert!(own.contains(&"sysfs /sys nosuid,noexec,nodev,ro".to_owned()), "{own:?}");
        assert!(!own.iter().any(|line| line.starts_with("cgroup")), "version 1 without groups: {own:?}");
        let mut spec = ContainerSpec { network: NetworkMode::Host, ..Default::default() };
        spec.namespaces.pid = PidMode::Host;
        let of_host = listed_on(&spec, None, &Host { cgroup_v2: true, ..host }).unwrap();
        assert!(of_host.contains(&"/sys /sys rbind,rslave,nosuid,noexec,nodev,ro,rro".to_owned()), "{of_host:?}");
        assert!(of_host.contains(&"/proc /proc rbind,rslave,nosuid,noexec,nodev".to_owned()), "{of_host:?}");
        assert!(of_host.iter().any(|line| line.starts_with("cgroup ")), "{of_host:?}");
    }

    #[test]
    fn the_default_is_dockers() {
        let spec = ContainerSpec::default();
        let lines = listed(&spec, None).unwrap();
        assert_eq!(lines[0], "proc /proc nosuid,noexec,nodev");
        assert_eq!(lines[3], "sysfs /sys nosuid,noexec,nodev,ro");
        assert_eq!(lines[4], "cgroup /sys/fs/cgroup ro,nosuid,noexec,nodev");
        assert_eq!(lines[6], "shm /dev/shm nosuid,noexec,nodev,mode=1777,size=67108864");
        assert_eq!(
            lines[7..],
            [
                "/s/resolv.conf /etc/resolv.conf rbind,rprivate",
                "/s/hostname /etc/hostname rbind,rprivate",
                "/s/hosts /etc/hosts rbind,rprivate"
            ]
        );
    }

    #[test]
    fn what_was_asked_for_comes_last_and_parents_first() {
        let spec = ContainerSpec {
            mounts: vec![
                parse_volume("/h/deep:/a/b/c:ro").unwrap(),
                parse_volume("/h/hosts:/etc/hosts").unwrap(),
                parse_volume("/h/top:/a:rslave").unwrap(),
            ],
            tmpfs: vec![parse_tmpfs("/run:exec,size=1m").unwrap(), parse_tmpfs("/dev/shm").unwrap()],
            ..Default::default()
        };
        let lines = listed(&spec, Some(Path::new("/usr/bin/tini-static"))).unwrap();
        assert_eq!(
            lines[6..],
            [
                "/s/resolv.conf /etc/resolv.conf rbind,rprivate",
                "/s/hostname /etc/hostname rbind,rprivate",
                "/usr/bin/tini-static /dev/init rbind,rprivate,ro",
                "/h/top /a rbind,rslave",
                "tmpfs /run nosuid,nodev,exec,size=1m",
                "/h/hosts /etc/hosts rbind,rprivate",
                "tmpfs /dev/shm noexec,nosuid,nodev",
                "/h/deep /a/b/c rbind,rprivate,ro,rro",
            ]
        );
    }

    #[test]
    fn shared_memory_follows_the_ipc_mode() {
        for (ipc, wanted) in [
            (IpcMode::Shareable, Some("shm /dev/shm nosuid,noexec,nodev,mode=1777,size=67108864")),
            (IpcMode::None, None),
            (IpcMode::Host, Some("/dev/shm /dev/shm rbind,rprivate")),
            (IpcMode::Container("x".into()), Some("/run/c/shm /dev/shm rbind,rprivate")),
        ] {
            let mut spec = ContainerSpec::default();
            spec.namespaces.ipc = ipc;
            spec.system_paths.proc_options = vec!["hidepid=2".into(), "nosuid".into()];
            let lines = listed(&spec, None).unwrap();
            assert_eq!(lines.iter().find(|line| line.contains(" /dev/shm ")).map(String::as_str), wanted);
            assert_eq!(lines[0], "proc /proc nosuid,noexec,nodev,hidepid=2");
        }
    }

    #[test]
    fn proc_and_duplicates_are_refused() {
        for volume in ["/x:/proc", "/x:/a/../proc/sys", "/x:/proc/self/attr", "/x:/proc/"] {
            let spec = ContainerSpec { mounts: vec![parse_volume(volume).unwrap()], ..Default::default() };
            assert_eq!(listed(&spec, None).unwrap_err().kind(), Kind::InvalidInput, "{volume}");
        }
        let spec = ContainerSpec {
            mounts: vec![parse_volume("/x:/a").unwrap(), parse_volume("/y:/a/").unwrap()],
            ..Default::default()
        };
        assert_eq!(listed(&spec, None).unwrap_err().kind(), Kind::InvalidInput);
        let spec = ContainerSpec { mounts: vec![parse_volume("/x:/proc/cpuinfo").unwrap()], ..Default::default() };
        assert!(listed(&spec, None).is_ok());
    }
}
