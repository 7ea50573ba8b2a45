//! `inspect` of a container, with Docker's keys.

use std::path::PathBuf;

use mica_engine::bundle::{apparmor, host};
use mica_engine::container::{ContainerRecord, ContainerState, LogDriver};
use mica_engine::ops::ps::ContainerSummary;
use serde_json::{Value, json};

use super::host_config::host_config;
use super::image::defaults;
use super::{mounts, network};

/// What Docker shows for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Everything about a container.
pub fn details(summary: &ContainerSummary) -> Value {
    let record = &summary.record;
    let args = record.args();
    let (path, rest) = args.split_first().map_or(("", [].as_slice()), |(path, rest)| (path.as_str(), rest));
    let file = |name: &str| summary.directory.join(name);
    let log = match record.spec.log.driver {
        LogDriver::JsonFile => file(&format!("{}-json.log", record.id)),
        LogDriver::Local | LogDriver::Journald | LogDriver::None => PathBuf::new(),
    };
    let mut view = json!({
        "Id": record.id,
        "Created": record.created,
        "Path": path,
        "Args": rest,
        "State": state(summary),
        "Image": record.image_id.to_string(),
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": log,
        "Name": format!("/{}", record.name),
        "RestartCount": summary.restarts,
        "Driver": record.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": apparmor(record),
        "ExecIDs": null,
        "HostConfig": host_config(record),
        "GraphDriver": { "Name": record.driver, "Data": null },
        "Mounts": mounts::mounts(summary),
        "Config": config(record),
        "NetworkSettings": network::settings(summary),
    });
    if let (Some(size), Value::Object(view)) = (summary.size, &mut view) {
        view.insert("SizeRw".to_owned(), size.writable.into());
        view.insert("SizeRootFs".to_owned(), size.total.into());
    }
    view
}

/// The profile that its processes get.
fn apparmor(record: &ContainerRecord) -> String {
    let in_use = host::confines_by_default() && !mica_rootless::is_confined();
    apparmor::profile(&record.spec, record.spec.privileged, in_use).unwrap_or_default()
}

fn state(summary: &ContainerSummary) -> Value {
    let state = &summary.state;
    let (started, finished) = match state {
        ContainerState::Running { started_at, .. } | ContainerState::Paused { started_at, .. } => {
            (started_at.as_str(), NEVER)
        }
        ContainerState::Exited { started_at, finished_at, .. }
        | ContainerState::Restarting { started_at, finished_at, .. } => (started_at.as_str(), finished_at.as_str()),
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
        "Restarting": matches!(state, ContainerState::Restarting { .. }),
        "OOMKilled": oom_killed,
        "Dead": matches!(state, ContainerState::Dead),
        "Pid": state.pid().unwrap_or(0),
        "ExitCode": state.exit_code(),
        "Error": error.unwrap_or_default(),
        "StartedAt": started,
        "FinishedAt": finished,
        // `null` for a container that is not checked: templates ask whether there is any.
        "Health": summary.health,
    })
}

fn config(record: &ContainerRecord) -> Value {
    let spec = &record.spec;
    let mut view = defaults(&record.config);
    let exposed: serde_json::Map<String, Value> = mica_engine::ops::networking::exposed(record)
        .unwrap_or_default()
        .into_iter()
        .map(|port| (port.to_string(), json!({})))
        .collect();
    if let Value::Object(view) = &mut view {
        let fields = json!({
            "Hostname": record.hostname(),
            "Domainname": spec.domainname.as_deref().unwrap_or_default(),
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
        if !exposed.is_empty() {
            view.insert("ExposedPorts".to_owned(), exposed.into());
        }
        if let Some(timeout) = spec.stop_timeout {
            view.insert("StopTimeout".to_owned(), timeout.into());
        }
    }
    view
}
