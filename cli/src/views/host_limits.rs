//! The part of `HostConfig` that says what a container may use and what it shares, in Docker's keys and units.

use mica_engine::container::{
    BlockIo, CgroupnsMode, ContainerRecord, DeviceRate, DeviceRequest, IpcMode, PidMode, Resources, SystemPaths,
};
use serde_json::{Map, Value, json};

/// Control groups and namespaces.
pub fn host_limits(record: &ContainerRecord) -> Map<String, Value> {
    let spec = &record.spec;
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let own = CgroupnsMode::Private;
    let cgroup = spec.namespaces.cgroup.unwrap_or(if v2 && !spec.privileged { own } else { CgroupnsMode::Host });
    let mut all = map(json!({
        "CgroupnsMode": cgroup.word(),
        "IpcMode": IpcMode::word(&spec.namespaces.ipc),
        "PidMode": PidMode::word(&spec.namespaces.pid),
        "UTSMode": spec.namespaces.uts.word(),
        "Isolation": "",
        "CgroupParent": spec.cgroup_parent.as_deref().unwrap_or_default(),
        "DeviceCgroupRules": if spec.device_rules.is_empty() { Value::Null } else { spec.device_rules.clone().into() },
        "DeviceRequests": device_requests(&spec.device_requests),
    }));
    if !spec.annotations.is_empty() {
        all.insert("Annotations".to_owned(), json!(spec.annotations));
    }
    all.extend(limits(&spec.resources));
    all.extend(block_io(&spec.resources.block_io));
    all.extend(paths(&spec.system_paths, spec.privileged));
    all
}

/// Docker has names of the Container Device Interface as a driver of its own.
fn device_requests(requests: &[DeviceRequest]) -> Value {
    let shown = requests.iter().map(|request| match request {
        DeviceRequest::Cdi(names) => {
            json!({ "Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": [], "Options": {} })
        }
        DeviceRequest::Gpus(gpus) => json!({
            "Driver": gpus.driver,
            "Count": gpus.count,
            "DeviceIDs": if gpus.devices.is_empty() { Value::Null } else { gpus.devices.clone().into() },
            "Capabilities": [gpus.capabilities],
            "Options": gpus.options,
        }),
    });
    if requests.is_empty() { Value::Null } else { shown.collect() }
}

fn limits(resources: &Resources) -> Map<String, Value> {
    map(json!({
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "Memory": resources.memory.unwrap_or(0),
        "MemoryReservation": resources.memory_reservation.unwrap_or(0),
        "MemorySwap": resources.memory_swap.unwrap_or(0),
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "NanoCpus": resources.milli_cpus.unwrap_or(0) * 1_000_000,
        "CpuPeriod": resources.cpu_period.unwrap_or(0),
        "CpuQuota": resources.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": resources.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": resources.cpu_rt_runtime.unwrap_or(0),
        "CpusetCpus": resources.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.as_deref().unwrap_or_default(),
        "PidsLimit": resources.pids,
    }))
}

fn block_io(limits: &BlockIo) -> Map<String, Value> {
    let rates = |rates: &[DeviceRate]| -> Vec<Value> {
        rates.iter().map(|rate| json!({ "Path": rate.path, "Rate": rate.rate })).collect()
    };
    let weights = limits.weights.iter().map(|device| json!({ "Path": device.path, "Weight": device.weight }));
    map(json!({
        "BlkioWeight": limits.weight.unwrap_or(0),
        "BlkioWeightDevice": weights.collect::<Vec<_>>(),
        "BlkioDeviceReadBps": rates(&limits.read_bps),
        "BlkioDeviceWriteBps": rates(&limits.write_bps),
        "BlkioDeviceReadIOps": rates(&limits.read_iops),
        "BlkioDeviceWriteIOps": rates(&limits.write_iops),
    }))
}

/// What is hidden and read-only: the engine's own list, changed as was asked.
fn paths(paths: &SystemPaths, privileged: bool) -> Map<String, Value> {
    let kept = |defaults: &[&str]| {
        if privileged { Value::Null } else { paths.kept(defaults).into() }
    };
    let mut masked = kept(&mica_engine::bundle::spec::MASKED);
    if let Value::Array(list) = &mut masked {
        list.extend(paths.mask.iter().cloned().map(Value::String));
    }
    map(json!({ "MaskedPaths": masked, "ReadonlyPaths": kept(&mica_engine::bundle::spec::READ_ONLY) }))
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
