//! `inspect` of a container, with Docker's keys.

use mica_engine::container::{ContainerRecord, ContainerState, MountSource, Propagation};
use mica_engine::ops::ps::ContainerSummary;
use serde_json::{Value, json};

use super::host_config::host_config;
use super::image::defaults;

/// What Docker shows for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Everything about a container.
pub fn details(summary: &ContainerSummary) -> Value {
    let record = &summary.record;
    let args = record.args();
    let (path, rest) = args.split_first().map_or(("", [].as_slice()), |(path, rest)| (path.as_str(), rest));
    let mut view = json!({
        "Id": record.id,
        "Created": record.created,
        "Path": path,
        "Args": rest,
        "State": state(&summary.state),
        "Image": record.image_id.to_string(),
        "Name": format!("/{}", record.name),
        "RestartCount": 0,
        "Driver": record.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(record),
        "GraphDriver": { "Name": record.driver, "Data": null },
        "Mounts": mounts(record),
        "Config": config(record),
        "NetworkSettings": network_settings(record),
    });
    if let (Some(size), Value::Object(view)) = (summary.size, &mut view) {
        view.insert("SizeRw".to_owned(), size.writable.into());
        view.insert("SizeRootFs".to_owned(), size.total.into());
    }
    view
}

fn state(state: &ContainerState) -> Value {
    let (started, finished) = match state {
        ContainerState::Running { started_at, .. } | ContainerState::Paused { started_at, .. } => {
            (started_at.as_str(), NEVER)
        }
        ContainerState::Exited { started_at, finished_at, .. } => (started_at.as_str(), finished_at.as_str()),
        ContainerState::Created { .. } | ContainerState::Dead => (NEVER, NEVER),
    };
    let (oom_killed, error) = match state {
        ContainerState::Exited { oom_killed, error, .. } => (*oom_killed, error.as_deref()),
        ContainerState::Created { failure: Some((_, error)) } => (false, Some(error.as_str())),
        _ => (false, None),
    };
    json!({
        "Status": state.word(),
        "Running": state.is_running(),
        "Paused": matches!(state, ContainerState::Paused { .. }),
        "Restarting": false,
        "OOMKilled": oom_killed,
        "Dead": matches!(state, ContainerState::Dead),
        "Pid": state.pid().unwrap_or(0),
        "ExitCode": state.exit_code(),
        "Error": error.unwrap_or_default(),
        "StartedAt": started,
        "FinishedAt": finished,
    })
}

fn config(record: &ContainerRecord) -> Value {
    let spec = &record.spec;
    let mut view = defaults(&record.config);
    if let Value::Object(view) = &mut view {
        let fields = json!({
            "Hostname": record.hostname(),
            "Domainname": "",
            "AttachStdin": spec.stdin_open,
            "AttachStdout": true,
            "AttachStderr": true,
            "Tty": spec.tty,
            "OpenStdin": spec.stdin_open,
            "StdinOnce": spec.stdin_open,
            "Image": record.image_name,
            "Labels": record.config.labels.clone().unwrap_or_default(),
        });
        if let Value::Object(fields) = fields {
            view.extend(fields);
        }
        if let Some(timeout) = spec.stop_timeout {
            view.insert("StopTimeout".to_owned(), timeout.into());
        }
    }
    view
}

fn mounts(record: &ContainerRecord) -> Vec<Value> {
    let binds = record.spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { path, .. } => Some(json!({
            "Type": "bind",
            "Source": path,
            "Destination": mount.target,
            "Mode": if mount.read_only { "ro" } else { "" },
            "RW": !mount.read_only,
            "Propagation": mount.propagation.map_or("rprivate", Propagation::word),
        })),
        MountSource::Volume { .. } => None,
    });
    let volumes = record.volumes.iter().map(|volume| {
        json!({
            "Type": "volume",
            "Name": volume.name,
            "Destination": volume.target,
            "Driver": "local",
            "Mode": if volume.read_only { "ro" } else { "" },
            "RW": !volume.read_only,
            "Propagation": "",
        })
    });
    let memory = record.spec.tmpfs.iter().map(|tmpfs| {
        json!({ "Type": "tmpfs", "Source": "", "Destination": tmpfs.target, "Mode": tmpfs.options.join(","), "RW": true, "Propagation": "" })
    });
    binds.chain(volumes).chain(memory).collect()
}

fn network_settings(record: &ContainerRecord) -> Value {
    let network = json!({
        "IPAMConfig": null, "Links": null, "Aliases": null, "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "",
        "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "", "DNSNames": null,
    });
    json!({
        "Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": {}, "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
        "Networks": { record.spec.network.word(): network },
    })
}
