//! The `HostConfig` object of `inspect`: what was asked for, in Docker's keys and units.

use mica_engine::container::{ContainerRecord, MountSource, Resources, SeccompChoice};
use serde_json::{Map, Value, json};

/// What was asked for.
pub fn host_config(record: &ContainerRecord) -> Value {
    let spec = &record.spec;
    let mut log_options = Map::new();
    if let Some(size) = spec.log.max_size {
        log_options.insert("max-size".to_owned(), size.to_string().into());
    }
    if let Some(files) = spec.log.max_files {
        log_options.insert("max-file".to_owned(), files.to_string().into());
    }
    let tmpfs: Map<String, Value> =
        spec.tmpfs.iter().map(|tmpfs| (tmpfs.target.clone(), tmpfs.options.join(",").into())).collect();
    let devices = spec.devices.iter().map(|device| {
        json!({ "PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.access })
    });
    let ulimits = spec
        .ulimits
        .iter()
        .map(|limit| json!({ "Name": limit.name, "Soft": signed(limit.soft), "Hard": signed(limit.hard) }));
    let mut view = json!({
        "Binds": list(binds(record)),
        "ContainerIDFile": "",
        "LogConfig": { "Type": spec.log.driver.word(), "Config": log_options },
        "NetworkMode": spec.network.word(),
        "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": spec.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": list(spec.cap_add.clone()),
        "CapDrop": list(spec.cap_drop.clone()),
        "CgroupnsMode": "private",
        "Dns": spec.dns,
        "DnsOptions": spec.dns_options,
        "DnsSearch": spec.dns_search,
        "ExtraHosts": list(spec.add_hosts.clone()),
        "GroupAdd": list(spec.group_add.clone()),
        "IpcMode": "private",
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": spec.oom_score_adj.unwrap_or(0),
        "PidMode": "",
        "Privileged": spec.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": list(security_options(record)),
        "Tmpfs": tmpfs,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": spec.shm_size.unwrap_or(64 << 20),
        "Sysctls": spec.sysctls,
        "Runtime": spec.runtime.as_deref().unwrap_or("mica"),
        "Isolation": "",
        "CgroupParent": "",
        "Devices": devices.collect::<Vec<_>>(),
        "Ulimits": ulimits.collect::<Vec<_>>(),
        "Init": spec.init,
    });
    if let (Value::Object(view), Value::Object(limits)) = (&mut view, limits(&spec.resources)) {
        view.extend(limits);
    }
    view
}

fn limits(resources: &Resources) -> Value {
    json!({
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "Memory": resources.memory.unwrap_or(0),
        "MemoryReservation": resources.memory_reservation.unwrap_or(0),
        "MemorySwap": resources.memory_swap.unwrap_or(0),
        "NanoCpus": resources.milli_cpus.unwrap_or(0) * 1_000_000,
        "CpusetCpus": resources.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.as_deref().unwrap_or_default(),
        "PidsLimit": resources.pids,
    })
}

fn binds(record: &ContainerRecord) -> Vec<String> {
    let mounts = record.spec.mounts.iter().filter_map(|mount| {
        let source = match &mount.source {
            MountSource::Bind { path, .. } => path.display().to_string(),
            MountSource::Volume { name } => name.clone()?,
        };
        let suffix = if mount.read_only { ":ro" } else { "" };
        Some(format!("{source}:{}{suffix}", mount.target))
    });
    mounts.collect()
}

fn security_options(record: &ContainerRecord) -> Vec<String> {
    let mut options = Vec::new();
    if record.spec.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &record.spec.seccomp {
        SeccompChoice::Default => {}
        SeccompChoice::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompChoice::Profile(text) => options.push(format!("seccomp={text}")),
    }
    options
}

/// Docker has `null` for lists that nobody asked for.
fn list(items: Vec<String>) -> Value {
    if items.is_empty() { Value::Null } else { items.into() }
}

/// No limit is -1.
fn signed(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}
