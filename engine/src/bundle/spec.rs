//! The whole OCI configuration of a container, from values alone.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxResources, LinuxSeccomp, Process, RootBuilder, Spec, UserBuilder,
};

use super::apparmor;
use super::block_io::block_io;
use super::capabilities;
use super::devices::{self, HostDevice};
use super::host::{CGROUPS, Host};
use super::merge::{DEFAULT_PATH, environment};
use super::mounts::{INIT_TARGET, MountInput, mounts};
use super::namespaces::{self, Donors, cgroup_path};
use super::resources::{resources, rlimits};
use super::seccomp::{default_profile, unbuildable};
use super::seccomp_file;
use super::user::Identity;
use crate::Result;
use crate::container::{
    ContainerSpec, IdMap, IdMappings, MountPoint, NetworkMode, Propagation, SeccompChoice, UtsMode,
};
use crate::runtime::{NETWORK_LINK, USER_LINK};

/// What a container must not see, for Docker's reasons: kernel memory and keys, and side channels to the hardware.
pub const MASKED: [&str; 12] = [
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

/// What a container may read but not write.
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The hierarchy of version 1 that limits nothing and only systemd uses.
const SYSTEMD_CGROUPS: &str = "/sys/fs/cgroup/systemd";

/// Everything a configuration is made of.
#[derive(Debug)]
pub struct BundleInput<'a> {
    /// 64 hexadecimal digits.
    pub id: &'a str,
    /// Where the monitor mounts the root.
    pub root: &'a Path,
    /// The request.
    pub spec: &'a ContainerSpec,
    /// The argument vector.
    pub args: Vec<String>,
    /// The merged environment of image and request.
    pub env: &'a [String],
    /// Working directory.
    pub cwd: &'a str,
    /// Who the process runs as.
    pub identity: &'a Identity,
    /// Host name.
    pub hostname: &'a str,
    /// Directory with `hosts`, `hostname` and `resolv.conf`.
    pub files: &'a Path,
    /// Binds, volumes and images with their sources, parents before children.
    pub points: &'a [(MountPoint, PathBuf)],
    /// Devices of the host.
    pub devices: &'a [HostDevice],
    /// The processes whose namespaces are joined.
    pub donors: Donors,
    /// Where the monitor puts the `/dev/shm` of another container, when that is shared.
    pub shm: Option<&'a Path>,
    /// A static init, when the container wants one.
    pub init: Option<&'a Path>,
    /// This machine.
    pub host: Host,
    /// The ids of its user namespace, which the monitor holds, where it has one of its own.
    pub ids: Option<&'a IdMappings>,
}

/// The configuration.
pub fn configuration(input: &BundleInput<'_>) -> Result<Spec> {
    let spec = input.spec;
    let mut args = input.args.clone();
    if input.init.is_some() {
        args.splice(0..0, [INIT_TARGET.to_owned(), "--".to_owned()]);
    }
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", input.hostname)];
    if spec.tty {
        env.push("TERM=xterm".into());
    }
    let mut env = environment(&env, input.env, &[]);
    with_home(&mut env, input.identity);
    let capabilities = capabilities::resolve(spec, input.host.capabilities)?;
    let process = process(&ProcessInput {
        spec,
        args,
        env,
        cwd: input.cwd,
        identity: input.identity,
        capabilities: capabilities::sets(&capabilities, input.identity.uid)?,
        tty: spec.tty,
        apparmor: apparmor::profile(spec, spec.privileged, input.host.apparmor),
    })?;
    let root = RootBuilder::default().path(input.root).readonly(spec.read_only).build().map_err(unbuildable)?;
    let seccomp = seccomp(spec, &capabilities)?;
    let limits = if input.host.groups { Some(limits(input)?) } else { None };
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(input)?))
        .set_cgroups_path(input.host.groups.then(|| cgroup_path(spec.cgroup_parent.as_deref(), input.id)))
        .set_resources(limits)
        .set_devices(Some(devices::nodes(input.devices)?).filter(|devices| !devices.is_empty()))
        .set_seccomp(seccomp)
        .set_sysctl(Some(sysctls(spec)).filter(|sysctls: &std::collections::HashMap<_, _>| !sysctls.is_empty()))
        .set_masked_paths(Some(masked_paths(spec, &input.host)))
        .set_readonly_paths(Some(read_only_paths(spec, &input.host)))
        .set_rootfs_propagation(root_propagation(input.points).map(str::to_owned))
        .set_uid_mappings(input.ids.map(|ids| mappings(&ids.uids)).transpose()?)
        .set_gid_mappings(input.ids.map(|ids| mappings(&ids.gids)).transpose()?);
    let mut built = Spec::default();
    built
        .set_root(Some(root))
        .set_process(Some(process))
        .set_hostname(Some(input.hostname.to_owned()).filter(|_| spec.namespaces.uts == UtsMode::Private))
        .set_mounts(Some(mounts(&MountInput {
            spec,
            files: input.files,
            points: input.points,
            devices: input.devices,
            shm: input.shm,
            groups: &namespaces::bound_groups(spec, &input.host, input.id, input.ids.is_some()),
            init: input.init,
            host: &input.host,
            ids: input.ids,
        })?))
        .set_annotations(annotations(spec))
        .set_linux(Some(linux));
    Ok(built)
}

fn limits(input: &BundleInput<'_>) -> Result<LinuxResources> {
    let mut limits = resources(&input.spec.resources, devices::rules(input.devices, input.spec)?)?;
    limits.set_block_io(block_io(&input.spec.resources.block_io)?);
    Ok(limits)
}

/// What a process object is made of.
#[derive(Debug)]
pub struct ProcessInput<'a> {
    /// The container's request.
    pub spec: &'a ContainerSpec,
    /// The argument vector.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: &'a str,
    /// Who it runs as.
    pub identity: &'a Identity,
    /// Its capability sets.
    pub capabilities: oci_spec::runtime::LinuxCapabilities,
    /// True for a terminal.
    pub tty: bool,
    /// Its AppArmor profile.
    pub apparmor: Option<String>,
}

/// A process object, for a container's first process and for `exec`.
pub fn process(input: &ProcessInput<'_>) -> Result<Process> {
    let user = UserBuilder::default()
        .uid(input.identity.uid)
        .gid(input.identity.gid)
        .additional_gids(input.identity.groups.clone())
        .umask(0o022u32)
        .build()
        .map_err(unbuildable)?;
    let mut process = Process::default();
    process
        .set_terminal(Some(input.tty))
        .set_user(user)
        .set_args(Some(input.args.clone()))
        .set_env(Some(input.env.clone()))
        .set_cwd(PathBuf::from(input.cwd))
        .set_capabilities(Some(input.capabilities.clone()))
        .set_no_new_privileges(Some(input.spec.no_new_privileges))
        .set_apparmor_profile(input.apparmor.clone())
        .set_rlimits(rlimits(&input.spec.ulimits)?)
        .set_oom_score_adj(input.spec.oom_score_adj);
    Ok(process)
}

/// Adds `HOME` when nobody set it. A home directory with a line break would forge lines wherever it is written down
/// (CVE-2026-15809), so it is not passed on.
pub fn with_home(env: &mut Vec<String>, identity: &Identity) {
    let set = env.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > "HOME=".len());
    if !set {
        env.retain(|entry| !entry.starts_with("HOME="));
        let home =
            if identity.home.chars().any(char::is_control) || identity.home.is_empty() { "/" } else { &identity.home };
        env.push(format!("HOME={home}"));
    }
}

/// Mounts made in the container reach the host only from a root that shares them.
fn root_propagation(points: &[(MountPoint, PathBuf)]) -> Option<&'static str> {
    let shares = |point: &MountPoint| matches!(point.propagation, Some(Propagation::Shared | Propagation::Rshared));
    points.iter().any(|(point, _)| shares(point)).then_some("shared")
}

fn seccomp(
    spec: &ContainerSpec,
    capabilities: &std::collections::HashSet<oci_spec::runtime::Capability>,
) -> Result<Option<LinuxSeccomp>> {
    match &spec.seccomp {
        _ if spec.privileged => Ok(None),
        SeccompChoice::Unconfined => Ok(None),
        SeccompChoice::Default => default_profile(capabilities).map(Some),
        SeccompChoice::Profile(text) => seccomp_file::profile(text, capabilities).map(Some),
    }
}

fn namespaces(input: &BundleInput<'_>) -> Result<Vec<LinuxNamespace>> {
    let mut all = namespaces::namespaces(input.spec, &input.host, &input.donors)?;
    let network = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network);
    let network = match input.spec.network {
        NetworkMode::None => network,
        NetworkMode::Host => return with_user(all, input),
        // Made before the container, and kept open by the monitor.
        NetworkMode::Networks | NetworkMode::Container(_) => network.path(input.root.with_file_name(NETWORK_LINK)),
    };
    all.push(network.build().map_err(unbuildable)?);
    with_user(all, input)
}

/// First, because whoever enters it may then make and enter the others that belong to it.
fn with_user(mut all: Vec<LinuxNamespace>, input: &BundleInput<'_>) -> Result<Vec<LinuxNamespace>> {
    if input.ids.is_some() {
        let user =
            LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::User).path(input.root.with_file_name(USER_LINK));
        all.insert(0, user.build().map_err(unbuildable)?);
    }
    Ok(all)
}

fn mappings(maps: &[IdMap]) -> Result<Vec<LinuxIdMapping>> {
    let mapping = |map: &IdMap| {
        LinuxIdMappingBuilder::default().container_id(map.inside).host_id(map.outside).size(map.count).build()
    };
    maps.iter().map(|map| mapping(map).map_err(unbuildable)).collect()
}

/// The domain name goes by its kernel setting, which every runtime knows; the field for it is younger than some.
fn sysctls(spec: &ContainerSpec) -> std::collections::HashMap<String, String> {
    let domain = spec.domainname.iter().map(|name| ("kernel.domainname".to_owned(), name.clone()));
    spec.sysctls.clone().into_iter().chain(domain).collect()
}

/// What was asked for on the command line, and never what an image says.
fn annotations(spec: &ContainerSpec) -> Option<std::collections::HashMap<String, String>> {
    (!spec.annotations.is_empty()).then(|| spec.annotations.clone().into_iter().collect())
}

/// With version 1, libcontainer makes a mount of each hierarchy without regard for `ro`, so they are made read-only once
/// more: a container that can write to its group lifts its own limits.
fn read_only_paths(spec: &ContainerSpec, host: &Host) -> Vec<String> {
    let mut list = paths(&READ_ONLY, spec);
    if !spec.privileged && !host.cgroup_v1.is_empty() {
        list.push(CGROUPS.to_owned());
        list.extend(host.cgroup_v1.iter().filter(|path| *path != SYSTEMD_CGROUPS).cloned());
    }
    list
}

/// libcontainer leaves containers at the root of systemd's own hierarchy, which shows the host's groups.
fn masked_paths(spec: &ContainerSpec, host: &Host) -> Vec<String> {
    let mut list = paths(&MASKED, spec);
    list.extend(spec.system_paths.mask.iter().cloned());
    if !spec.privileged && host.cgroup_v1.iter().any(|path| path == SYSTEMD_CGROUPS) {
        list.push(SYSTEMD_CGROUPS.to_owned());
    }
    list
}

fn paths(list: &[&str], spec: &ContainerSpec) -> Vec<String> {
    if spec.privileged { Vec::new() } else { spec.system_paths.kept(list) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn built(spec: &ContainerSpec, env: &[String], identity: &Identity) -> Value {
        let input = BundleInput {
            id: "0123456789abcdef",
            root: Path::new("/run/m/containers/0123/rootfs"),
            spec,
            args: vec!["true".into()],
            env,
            cwd: "/work",
            identity,
            hostname: "box",
            files: Path::new("/s"),
            points: &[],
            devices: &[],
            donors: Donors::default(),
            shm: None,
            init: None,
            host: Host {
                capabilities: u64::MAX >> 23,
                cgroup_v2: false,
                cgroup_v1: vec!["/sys/fs/cgroup/pids".into(), SYSTEMD_CGROUPS.into()],
                groups: true,
                confined: false,
                apparmor: false,
                recursive_read_only: true,
            },
            ids: None,
        };
        serde_json::to_value(configuration(&input).unwrap()).unwrap()
    }

    fn root() -> Identity {
        Identity { groups: vec![0, 10], home: "/root".into(), ..Identity::default() }
    }

    #[test]
    fn a_default_container_has_dockers_privileges() {
        let spec = built(&ContainerSpec::default(), &["A=1".into(), "PATH=/bin".into()], &root());
        let process = &spec["process"];
        assert_eq!(process["capabilities"]["bounding"].as_array().unwrap().len(), 14);
        assert_eq!(process["capabilities"]["effective"].as_array().unwrap().len(), 14);
        assert_eq!(process["capabilities"]["ambient"].as_array().unwrap().len(), 0);
        assert_eq!(process["noNewPrivileges"], false);
        assert_eq!(process["env"], serde_json::json!(["PATH=/bin", "HOSTNAME=box", "A=1", "HOME=/root"]));
        assert_eq!(process["user"]["additionalGids"], serde_json::json!([0, 10]));
        assert_eq!(process["user"]["umask"], 0o022);
        assert!(process.get("rlimits").is_none() && spec.get("annotations").is_none(), "{process}");
        let linux = &spec["linux"];
        assert_eq!(linux["maskedPaths"].as_array().unwrap().len(), 13);
        assert_eq!(linux["readonlyPaths"].as_array().unwrap().len(), 7);
        assert_eq!(linux["readonlyPaths"][6], "/sys/fs/cgroup/pids");
        assert_eq!(linux["cgroupsPath"], "/mica/0123456789abcdef");
        assert_eq!(linux["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        let kinds: Vec<&str> =
            linux["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["mount", "uts", "pid", "ipc", "network"]);
        assert_eq!(linux["resources"]["devices"][0]["allow"], false);
    }

    #[test]
    fn requests_change_what_they_name() {
        let spec = ContainerSpec {
            privileged: true,
            network: NetworkMode::Host,
            tty: true,
            read_only: true,
            ..Default::default()
        };
        let built_spec = built(&spec, &[], &root());
        assert_eq!(built_spec["linux"]["maskedPaths"].as_array().unwrap().len(), 0);
        assert!(built_spec["linux"].get("seccomp").is_none());
        assert_eq!(built_spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 41);
        assert_eq!(built_spec["linux"]["namespaces"].as_array().unwrap().len(), 4);
        assert_eq!(built_spec["root"]["readonly"], true);
        assert!(built_spec["process"]["env"].as_array().unwrap().iter().any(|entry| entry == "TERM=xterm"));
        let user = Identity { uid: 1000, gid: 1000, groups: vec![1000], home: "/x\nroot::0:0".into() };
        let plain = built(&ContainerSpec { seccomp: SeccompChoice::Unconfined, ..Default::default() }, &[], &user);
        assert_eq!(plain["process"]["capabilities"]["effective"].as_array().unwrap().len(), 0);
        assert!(plain["process"]["env"].as_array().unwrap().iter().any(|entry| entry == "HOME=/"));
        assert!(plain["linux"].get("seccomp").is_none());
    }
}
