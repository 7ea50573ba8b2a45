//! Networks in Docker's shapes: rows of `network ls`, `network inspect`, and what of them `inspect` and `ps` of a container show.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mica_engine::container::{ContainerRecord, DEFAULT_NETWORK, NetworkMode};
use mica_engine::network::{Binding, Endpoint, NetworkDriver, NetworkRecord};
use mica_engine::ops::network::NetworkDetails;
use mica_engine::ops::networking::exposed;
use mica_engine::ops::ps::ContainerSummary;
use serde_json::{Map, Value, json};

use super::row::Detail;
use super::{Row, row, short_id};
use crate::output::listing::Columns;

/// The columns of `network ls`.
pub const NETWORKS: Columns = Columns {
    headings: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("CreatedAt", "CREATED AT"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
};

/// A network in a listing.
pub fn network(record: &NetworkRecord, detail: Detail) -> Row {
    let labels: Vec<String> = record.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    row([
        ("ID", short_id(&record.id, detail == Detail::Whole).into()),
        ("Name", record.name.clone().into()),
        ("Driver", driver(record).into()),
        ("Scope", "local".into()),
        ("IPv6", record.ipv6.to_string().into()),
        ("Internal", record.internal.to_string().into()),
        ("Labels", labels.join(",").into()),
        ("Label", json!(record.labels)),
        ("CreatedAt", record.created.clone().into()),
    ])
}

/// Everything about a network.
pub fn details(found: &NetworkDetails) -> Value {
    let record = &found.record;
    let config: Vec<Value> = record
        .subnets
        .iter()
        .map(|subnet| {
            let mut config = Map::new();
            config.insert("Subnet".into(), subnet.subnet.to_string().into());
            if let Some(range) = subnet.range {
                config.insert("IPRange".into(), range.to_string().into());
            }
            if let Some(gateway) = subnet.gateway {
                config.insert("Gateway".into(), gateway.to_string().into());
            }
            if !subnet.others.is_empty() {
                config.insert("AuxiliaryAddresses".into(), json!(subnet.others));
            }
            config.into()
        })
        .collect();
    let containers: Map<String, Value> = found
        .members
        .iter()
        .map(|member| {
            let endpoint = &member.endpoint;
            let place = json!({
                "Name": member.container.name,
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac,
                "IPv4Address": endpoint.ipv4.map(|(address, prefix)| format!("{address}/{prefix}")).unwrap_or_default(),
                "IPv6Address": endpoint.ipv6.map(|(address, prefix)| format!("{address}/{prefix}")).unwrap_or_default(),
            });
            (member.container.id.clone(), place)
        })
        .collect();
    let mut options: BTreeMap<&str, &str> =
        record.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let is_bridge = record.driver == NetworkDriver::Bridge && driver(record) == "bridge";
    if is_bridge && record.is_default() {
        options.insert("com.docker.network.bridge.default_bridge", "true");
        options.insert("com.docker.network.bridge.name", &found.interface);
    }
    json!({
        "Name": record.name,
        "Id": record.id,
        "Created": if record.created.is_empty() { "0001-01-01T00:00:00Z" } else { &record.created },
        "Scope": "local",
        "Driver": driver(record),
        "EnableIPv4": true,
        "EnableIPv6": record.ipv6,
        "IPAM": { "Driver": "default", "Options": {}, "Config": config },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": options,
        "Labels": record.labels,
    })
}

/// What `HostConfig.NetworkMode` says.
pub fn mode(record: &ContainerRecord) -> String {
    match &record.spec.network {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(other) => format!("container:{other}"),
        NetworkMode::Networks => record.spec.networks.first().map_or("none", |place| place.network.as_str()).to_owned(),
    }
}

/// The names of a container's networks.
pub fn names(record: &ContainerRecord) -> Vec<String> {
    match &record.spec.network {
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Host => vec!["host".to_owned()],
        NetworkMode::Container(_) => Vec::new(),
        NetworkMode::Networks => record.spec.networks.iter().map(|place| place.network.clone()).collect(),
    }
}

/// `HostConfig.PortBindings`.
pub fn port_bindings(record: &ContainerRecord) -> Value {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in &record.spec.ports {
        let host = match port.host {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let address = port.address.map(|address| address.to_string()).unwrap_or_default();
        bindings.entry(port.container.to_string()).or_default().push(json!({ "HostIp": address, "HostPort": host }));
    }
    json!(bindings)
}

/// `NetworkSettings`.
pub fn settings(summary: &ContainerSummary) -> Value {
    let record = &summary.record;
    let state = &summary.network;
    let running = summary.state.is_running();
    let mut ports: BTreeMap<String, Value> = BTreeMap::new();
    if running && record.spec.network == NetworkMode::Networks {
        for port in exposed(record).unwrap_or_default() {
            ports.insert(port.to_string(), Value::Null);
        }
        for binding in &state.ports {
            let place = json!({ "HostIp": binding.address.to_string(), "HostPort": binding.port.to_string() });
            match ports.entry(binding.container.to_string()).or_default() {
                Value::Array(places) => places.push(place),
                other => *other = json!([place]),
            }
        }
    }
    let networks: Map<String, Value> = names(record)
        .into_iter()
        .map(|name| {
            let endpoint = state.endpoints.iter().find(|endpoint| endpoint.network == name);
            let place = place(record, &name, endpoint);
            (name, place)
        })
        .collect();
    // Docker repeats the default network's place at the top.
    let top = state.endpoints.iter().find(|endpoint| endpoint.network == DEFAULT_NETWORK);
    let top = addresses(top);
    let mut settings = json!({
        "Bridge": "",
        "SandboxID": if running && !state.endpoints.is_empty() { record.id.as_str() } else { "" },
        "SandboxKey": summary.state.pid().filter(|_| !state.endpoints.is_empty()).map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "Networks": networks,
    });
    if let Value::Object(settings) = &mut settings {
        settings.extend(top);
    }
    settings
}

fn place(record: &ContainerRecord, name: &str, endpoint: Option<&Endpoint>) -> Value {
    let asked = record.spec.networks.iter().find(|place| place.network == name);
    let ipam = asked.filter(|place| place.ip.is_some() || place.ip6.is_some()).map(|place| {
        let mut config = Map::new();
        if let Some(address) = place.ip {
            config.insert("IPv4Address".into(), address.to_string().into());
        }
        if let Some(address) = place.ip6 {
            config.insert("IPv6Address".into(), address.to_string().into());
        }
        config
    });
    let user_defined = asked.is_some() && name != DEFAULT_NETWORK;
    let aliases = asked.filter(|_| user_defined).map(|place| {
        let mut aliases = place.aliases.clone();
        aliases.push(record.short_id().to_owned());
        aliases
    });
    let mut view = json!({
        "IPAMConfig": ipam,
        "Links": null,
        "Aliases": aliases,
        "DriverOpts": asked.and_then(|place| place.interface.as_ref()).map(|name| json!({ "com.docker.network.endpoint.ifname": name })),
        "GwPriority": asked.map_or(0, |place| place.gateway_priority),
        "NetworkID": endpoint.map(|endpoint| endpoint.network_id.as_str()).unwrap_or_default(),
        "DNSNames": endpoint.map(|endpoint| &endpoint.names).filter(|names| !names.is_empty()),
    });
    if let Value::Object(view) = &mut view {
        view.extend(addresses(endpoint));
    }
    view
}

fn addresses(endpoint: Option<&Endpoint>) -> Map<String, Value> {
    let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let ipv4 = endpoint.and_then(|endpoint| endpoint.ipv4);
    let ipv6 = endpoint.and_then(|endpoint| endpoint.ipv6);
    let fields = [
        ("EndpointID", endpoint.map(|endpoint| endpoint.id.clone()).unwrap_or_default().into()),
        ("Gateway", text(endpoint.and_then(|endpoint| endpoint.gateway).map(IpAddr::V4)).into()),
        ("IPAddress", text(ipv4.map(|(address, _)| IpAddr::V4(address))).into()),
        ("IPPrefixLen", ipv4.map_or(0, |(_, prefix)| prefix).into()),
        ("IPv6Gateway", text(endpoint.and_then(|endpoint| endpoint.gateway6).map(IpAddr::V6)).into()),
        ("GlobalIPv6Address", text(ipv6.map(|(address, _)| IpAddr::V6(address))).into()),
        ("GlobalIPv6PrefixLen", ipv6.map_or(0, |(_, prefix)| prefix).into()),
        ("MacAddress", endpoint.map(|endpoint| endpoint.mac.clone()).unwrap_or_default().into()),
    ];
    row(fields)
}

/// The `PORTS` column: what is published, neighbouring ports in one, then what is only exposed.
pub fn ports(summary: &ContainerSummary) -> String {
    if !summary.state.is_running() || summary.record.spec.network != NetworkMode::Networks {
        return String::new();
    }
    let mut bindings = summary.network.ports.clone();
    bindings.sort_by_key(|binding| (binding.container.protocol, binding.address, binding.port, binding.container.port));
    let mut runs: Vec<(Binding, u16)> = Vec::new();
    for binding in bindings {
        match runs.last_mut() {
            Some((first, more)) if follows(first, *more, &binding) => *more += 1,
            _ => runs.push((binding, 0)),
        }
    }
    let span = |from: u16, more: u16| if more == 0 { from.to_string() } else { format!("{from}-{}", from + more) };
    let mut shown: Vec<String> = runs
        .into_iter()
        .map(|(binding, more)| {
            let host = host(binding.address);
            let protocol = binding.container.protocol.word();
            format!("{host}:{}->{}/{protocol}", span(binding.port, more), span(binding.container.port, more))
        })
        .collect();
    let published = |port| summary.network.ports.iter().any(|binding| binding.container == port);
    let exposed = exposed(&summary.record).unwrap_or_default();
    shown.extend(exposed.into_iter().filter(|port| !published(*port)).map(|port| port.to_string()));
    shown.join(", ")
}

fn follows(first: &Binding, more: u16, next: &Binding) -> bool {
    let step = more + 1;
    first.address == next.address
        && first.container.protocol == next.container.protocol
        && first.port.checked_add(step) == Some(next.port)
        && first.container.port.checked_add(step) == Some(next.container.port)
}

/// A host's address before a port.
pub fn host(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

fn driver(record: &NetworkRecord) -> &'static str {
    match record.name.as_str() {
        "none" => "null",
        "host" => "host",
        _ => record.driver.word(),
    }
}
