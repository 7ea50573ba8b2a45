//! The `HostConfig` object of `inspect`: what was asked for, in Docker's keys and units.

use mica_engine::container::{ContainerRecord, IdMap, IdMappings, SeccompChoice, UsernsMode};
use serde_json::{Map, Value, json};

use super::host_limits::host_limits;
use super::{mounts, network};
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
    for (key, value) in &spec.log.options {
        log_options.insert(key.clone(), value.clone().into());
    }
    let tmpfs: Map<String, Value> = spec
        .tmpfs
        .iter()
        .filter(|tmpfs| tmpfs.flag.is_none())
        .map(|tmpfs| (tmpfs.target.clone(), tmpfs.options.join(",").into()))
        .collect();
    let devices = spec.devices.iter().map(|device| {
        json!({ "PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.access })
    });
    let ulimits = spec
        .ulimits
        .iter()
        .map(|limit| json!({ "Name": limit.name, "Soft": signed(limit.soft), "Hard": signed(limit.hard) }));
    let mut view = json!({
        "Binds": list(mounts::binds(record)),
        "ContainerIDFile": "",
        "LogConfig": { "Type": spec.log.driver.word(), "Config": log_options },
    "NetworkMode" : network :: mode ( record ) , "PortBindings" : network :: port_bindings ( record ) , "RestartPolicy" : { "Name" : spec . restart . name ( ) , "MaximumRetryCount" : spec . restart . retries ( ) } ,
        "AutoRemove": spec.auto_remove,
        "VolumeDriver": spec.volume_driver.as_deref().unwrap_or_default(),
        "VolumesFrom": list(spec.volumes_from.clone()),
        "CapAdd": list(spec.cap_add.clone()),
        "CapDrop": list(spec.cap_drop.clone()),
        "Dns": spec.dns,
        "DnsOptions": spec.dns_options,
        "DnsSearch": spec.dns_search,
        "ExtraHosts": list(spec.add_hosts.clone()),
        "GroupAdd": list(spec.group_add.clone()),
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": spec.oom_score_adj.unwrap_or(0),
        "Privileged": spec.privileged,
        "PublishAllPorts": spec.publish_all,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": list(security_options(record)),
        "Tmpfs": tmpfs,
        "UsernsMode": userns_mode(record),
        "IDMappings": record.ids.as_ref().map(id_mappings),
        "StorageOpt": storage_options(record),
        "ShmSize": spec.shm_size.unwrap_or(64 << 20),
        "Sysctls": spec.sysctls,
        "Runtime": spec.runtime.as_deref().unwrap_or("mica"),
        "Devices": devices.collect::<Vec<_>>(),
        "Ulimits": ulimits.collect::<Vec<_>>(),
        "Init": spec.init,
        "Mounts": mounts::asked(record),
    });
    if let Value::Object(view) = &mut view {
        view.extend(host_limits(record));
    }
    view
}

/// Empty for the host's, as Docker has it.
fn userns_mode(record: &ContainerRecord) -> &'static str {
    match record.spec.userns {
        UsernsMode::Host => "",
        UsernsMode::Auto(_) => "auto",
        UsernsMode::Private => "private",
        UsernsMode::KeepId => "keep-id",
        UsernsMode::NoMap => "nomap",
    }
}

/// In Podman's keys and form.
fn id_mappings(ids: &IdMappings) -> Value {
    let shown = |maps: &[IdMap]| maps.iter().map(IdMap::to_string).collect::<Vec<_>>();
    json!({ "UidMap": shown(&ids.uids), "GidMap": shown(&ids.gids) })
}

fn security_options(record: &ContainerRecord) -> Vec<String> {
    let mut options = Vec::new();
    if record.spec.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    options.extend(record.spec.apparmor.iter().map(|profile| format!("apparmor={profile}")));
    if !record.spec.system_paths.proc_options.is_empty() {
        options.push(format!("proc-opts={}", record.spec.system_paths.proc_options.join(",")));
    }
    match &record.spec.seccomp {
        SeccompChoice::Default => {}
        SeccompChoice::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompChoice::Profile(text) => options.push(format!("seccomp={text}")),
    }
    options
}

/// Docker leaves the key out of a container without limits; `null` reads the same.
fn storage_options(record: &ContainerRecord) -> Value {
    let limits = record.spec.storage;
    let given = [("size", limits.size), ("inodes", limits.inodes)];
    let options: Map<String, Value> =
        given.into_iter().filter_map(|(key, limit)| Some((key.to_owned(), limit?.to_string().into()))).collect();
    if options.is_empty() { Value::Null } else { options.into() }
}

/// Docker has `null` for lists that nobody asked for.
fn list(items: Vec<String>) -> Value {
    if items.is_empty() { Value::Null } else { items.into() }
}

/// No limit is -1.
fn signed(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}
