//! The namespaces of a container: its own, the host's by absence, and those of other containers by path.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType};

use super::host::Host;
use super::seccomp::unbuildable;
use crate::container::{CgroupnsMode, ContainerSpec, IpcMode, PidMode, UtsMode};
use crate::{Error, Kind, Result};

/// The processes whose namespaces a container joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Donors {
    /// First process of the container that lends its IPC namespace.
    pub ipc: Option<i32>,
    /// First process of the container that lends its PID namespace.
    pub pid: Option<i32>,
}

/// All but the network's.
pub fn namespaces(spec: &ContainerSpec, host: &Host, donors: &Donors) -> Result<Vec<LinuxNamespace>> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Pid, Uts};
    let modes = &spec.namespaces;
    let joined = |pid: Option<i32>, kind: &str| pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/{kind}")));
    let mut all = vec![namespace(Mount, None)?];
    if modes.uts == UtsMode::Private {
        all.push(namespace(Uts, None)?);
    }
    match modes.pid {
        PidMode::Host => {}
        PidMode::Private => all.push(namespace(Pid, None)?),
        PidMode::Container(_) => all.push(namespace(Pid, joined(donors.pid, "pid"))?),
    }
    match modes.ipc {
        IpcMode::Host => {}
        IpcMode::Container(_) => all.push(namespace(Ipc, joined(donors.ipc, "ipc"))?),
        IpcMode::Private | IpcMode::Shareable | IpcMode::None => all.push(namespace(Ipc, None)?),
    }
    if cgroup_mode(spec, host.cgroup_v2) == CgroupnsMode::Private {
        all.push(namespace(Cgroup, None)?);
    }
    Ok(all)
}

/// What `--cgroupns` comes to: with version 1 the host's is the default, as everything there expects it, and a privileged
/// container has the host's too.
pub fn cgroup_mode(spec: &ContainerSpec, v2: bool) -> CgroupnsMode {
    let default = if v2 && !spec.privileged { CgroupnsMode::Private } else { CgroupnsMode::Host };
    spec.namespaces.cgroup.unwrap_or(default)
}

/// Refuses what the chosen namespaces make impossible, in Docker's words.
pub fn check(spec: &ContainerSpec) -> Result<()> {
    let refused = |message: String| Err(Error::refused(Kind::InvalidInput, message));
    if spec.namespaces.uts == UtsMode::Host {
        if spec.hostname.is_some() {
            return refused("conflicting options: hostname and the UTS mode".into());
        }
        if spec.domainname.is_some() {
            return refused("conflicting options: domainname and the UTS mode".into());
        }
    }
    for name in spec.sysctls.keys() {
        let place = match name.split('.').next() {
            Some("net") if spec.network == crate::container::NetworkMode::Host => "network",
            Some("kernel" | "fs") if spec.namespaces.ipc == IpcMode::Host => "IPC",
            _ => continue,
        };
        return refused(format!("sysctl `{name}` is not allowed in the host's {place} namespace"));
    }
    if spec.shm_size.is_some() && !matches!(spec.namespaces.ipc, IpcMode::Private | IpcMode::Shareable) {
        return refused(format!("`--shm-size` has no effect with the IPC mode `{}`", spec.namespaces.ipc.word()));
    }
    Ok(())
}

/// The container's group: below the parent that was asked for, which cannot lead out of the hierarchy.
pub fn cgroup_path(parent: Option<&str>, id: &str) -> PathBuf {
    let parent = super::merge::clean(parent.unwrap_or("/mica"));
    Path::new(&parent).join(id)
}

/// With version 1, libcontainer 0.7 finds a container's groups by the process ID it has in its own namespace, taken for one
/// of the host's: in a namespace of its own that is 1, which there always is; in another container's it may be anything.
/// There the groups are bound by their paths, which are known. In a user namespace of its own (`mapped`) they are too, because
/// nobody may mount hierarchies there that belong to the host.
pub fn bound_groups(spec: &ContainerSpec, host: &Host, id: &str, mapped: bool) -> Vec<(PathBuf, String)> {
    if host.cgroup_v2 || !(mapped || matches!(spec.namespaces.pid, PidMode::Container(_))) {
        return Vec::new();
    }
    let group = cgroup_path(spec.cgroup_parent.as_deref(), id);
    let group = group.strip_prefix("/").unwrap_or(&group);
    // No runtime makes groups in these two when it does without systemd.
    let limits = |place: &&String| !place.ends_with("/systemd") && !place.ends_with("/unified");
    host.cgroup_v1.iter().filter(limits).map(|place| (Path::new(place).join(group), place.clone())).collect()
}

fn namespace(kind: LinuxNamespaceType, path: Option<PathBuf>) -> Result<LinuxNamespace> {
    let mut built = LinuxNamespaceBuilder::default().typ(kind);
    if let Some(path) = path {
        built = built.path(path);
    }
    built.build().map_err(unbuildable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{Namespaces, NetworkMode};

    fn host(cgroup_v2: bool) -> Host {
        Host { cgroup_v2, groups: true, ..Host::default() }
    }

    fn shown(spec: &ContainerSpec, v2: bool) -> Vec<String> {
        let donors = Donors { ipc: Some(7), pid: Some(8) };
        let all = namespaces(spec, &host(v2), &donors).unwrap();
        let path = |namespace: &LinuxNamespace| namespace.path().as_ref().map(|path| format!("={}", path.display()));
        let kind = |one: &LinuxNamespace| serde_json::to_value(one.typ()).unwrap().as_str().unwrap().to_owned();
        all.iter().map(|one| kind(one) + &path(one).unwrap_or_default()).collect()
    }

    #[test]
    fn own_namespaces_are_the_default() {
        let spec = ContainerSpec::default();
        assert_eq!(shown(&spec, false), ["mount", "uts", "pid", "ipc"]);
        assert_eq!(shown(&spec, true), ["mount", "uts", "pid", "ipc", "cgroup"]);
        let privileged = ContainerSpec { privileged: true, ..Default::default() };
        assert_eq!(shown(&privileged, true), ["mount", "uts", "pid", "ipc"]);
    }

    #[test]
    fn the_hosts_are_left_out_and_others_are_named() {
        let with = |namespaces| ContainerSpec { namespaces, ..Default::default() };
        let all =
            Namespaces { ipc: IpcMode::Host, pid: PidMode::Host, uts: UtsMode::Host, cgroup: Some(CgroupnsMode::Host) };
        assert_eq!(shown(&with(all), true), ["mount"]);
        let joined = Namespaces {
            ipc: IpcMode::Container("a".into()),
            pid: PidMode::Container("b".into()),
            cgroup: Some(CgroupnsMode::Private),
            ..Default::default()
        };
        assert_eq!(shown(&with(joined), false), ["mount", "uts", "pid=/proc/8/ns/pid", "ipc=/proc/7/ns/ipc", "cgroup"]);
        let none = Namespaces { ipc: IpcMode::None, ..Default::default() };
        assert_eq!(shown(&with(none), false), ["mount", "uts", "pid", "ipc"]);
    }

    #[test]
    fn groups_are_bound_where_the_process_ids_are_anothers() {
        let joined = Namespaces { pid: PidMode::Container("b".into()), ..Default::default() };
        let spec = ContainerSpec { namespaces: joined, ..Default::default() };
        let places = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/systemd"].map(str::to_owned).to_vec();
        let v1 = Host { cgroup_v1: places, ..host(false) };
        let wanted = [(PathBuf::from("/sys/fs/cgroup/pids/mica/id"), "/sys/fs/cgroup/pids".to_owned())];
        assert_eq!(bound_groups(&spec, &v1, "id", false), wanted);
        assert_eq!(bound_groups(&ContainerSpec::default(), &v1, "id", true), wanted);
        assert!(bound_groups(&ContainerSpec::default(), &v1, "id", false).is_empty());
        assert!(bound_groups(&spec, &host(true), "id", true).is_empty());
    }

    #[test]
    fn contradictions_are_refused() {
        let sysctl = |name: &str| [(name.to_owned(), "1".to_owned())].into();
        let host_ipc = Namespaces { ipc: IpcMode::Host, ..Default::default() };
        let host_uts = Namespaces { uts: UtsMode::Host, ..Default::default() };
        for spec in [
            ContainerSpec { namespaces: host_uts.clone(), hostname: Some("h".into()), ..Default::default() },
            ContainerSpec { namespaces: host_uts, domainname: Some("d".into()), ..Default::default() },
            ContainerSpec { network: NetworkMode::Host, sysctls: sysctl("net.core.somaxconn"), ..Default::default() },
            ContainerSpec { namespaces: host_ipc.clone(), sysctls: sysctl("kernel.shmmax"), ..Default::default() },
            ContainerSpec { namespaces: host_ipc.clone(), sysctls: sysctl("fs.mqueue.msg_max"), ..Default::default() },
            ContainerSpec { namespaces: host_ipc, shm_size: Some(1), ..Default::default() },
        ] {
            assert_eq!(check(&spec).unwrap_err().kind(), Kind::InvalidInput, "{spec:?}");
        }
        assert!(check(&ContainerSpec { sysctls: sysctl("kernel.shmmax"), ..Default::default() }).is_ok());
    }

    #[test]
    fn groups_stay_inside_the_hierarchy() {
        for (parent, path) in [
            (None, "/mica/id"),
            (Some("/a/b"), "/a/b/id"),
            (Some("a.slice"), "/a.slice/id"),
            (Some("/"), "/id"),
            (Some("../../x/./y//"), "/x/y/id"),
        ] {
            assert_eq!(cgroup_path(parent, "id"), Path::new(path), "{parent:?}");
        }
    }
}
