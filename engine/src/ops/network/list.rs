//! `network ls` and `network inspect`, and how what a person typed becomes a network.

use std::collections::BTreeMap;

use crate::container::{DEFAULT_NETWORK, NetworkMode};
use crate::filter;
use crate::network::{Member, NetworkRecord};
use crate::store::{containers, networks};
use crate::{Engine, Error, Kind, Result};

/// The networks that every store has.
pub const PREDEFINED: [&str; 3] = [DEFAULT_NETWORK, "host", "none"];

/// A network with those in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDetails {
    /// What it is, with its subnets where they are chosen.
    pub record: NetworkRecord,
    /// Its bridge on this machine.
    pub interface: String,
    /// The containers in it that run.
    pub members: Vec<Member>,
}

impl Engine {
    /// Lists networks, by name. Values of one filter are alternatives, labels must all hold.
    pub async fn networks(&self, filters: Vec<(String, String)>) -> Result<Vec<NetworkRecord>> {
        filter::known(&filters, &["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        self.blocking(move |engine| {
            let used = engine.networks_in_use()?;
            let mut all = engine.all_networks()?;
            all.extend(["host", "none"].map(|name| engine.predefined(name)));
            all.sort_by(|a, b| a.name.cmp(&b.name));
            let mut found = Vec::new();
            for network in all {
                if matches(&network, &filters, used.contains_key(&network.name))? {
                    found.push(network);
                }
            }
            Ok(found)
        })
        .await
    }

    /// One network, by name, ID, or the beginning of its ID.
    pub async fn inspect_network(&self, network: &str) -> Result<NetworkDetails> {
        let wanted = network.to_owned();
        self.blocking(move |engine| {
            let record = engine.find_network(&wanted)?;
            let network = &engine.options().network;
            let record = network.running(&record.id)?.unwrap_or(record);
            let members = network.members(&record.id)?;
            Ok(NetworkDetails { interface: network.interface(&record), members, record })
        })
        .await
    }

    /// The network that a container is to be connected to, with its subnets chosen.
    pub(crate) async fn ready_network(&self, network: &str) -> Result<NetworkRecord> {
        let wanted = network.to_owned();
        let (record, others) = self
            .blocking(move |engine| {
                let record = engine.find_network(&wanted)?;
                if matches!(record.name.as_str(), "host" | "none") {
                    let message = format!("container cannot be connected to network {}", record.name);
                    return Err(Error::refused(Kind::InvalidInput, message));
                }
                if !record.subnets.is_empty() {
                    return Ok((record, Vec::new()));
                }
                if let Some(running) = engine.options().network.running(&record.id)? {
                    return Ok((running, Vec::new()));
                }
                Ok((record, engine.all_networks()?))
            })
            .await?;
        if record.subnets.is_empty() { self.options().network.design(record, others).await } else { Ok(record) }
    }

    /// Finds a network. Blocks.
    pub(crate) fn find_network(&self, text: &str) -> Result<NetworkRecord> {
        // The usual one needs no look at the database.
        if PREDEFINED.contains(&text) {
            return Ok(self.predefined(text));
        }
        let mut all = self.all_networks()?;
        all.extend(["host", "none"].map(|name| self.predefined(name)));
        if let Some(found) = all.iter().find(|network| network.name == text || network.id == text) {
            return Ok(found.clone());
        }
        let mut found: Vec<NetworkRecord> =
            all.into_iter().filter(|network| !text.is_empty() && network.id.starts_with(text)).collect();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Error::refused(Kind::NotFound, format!("network {} not found", text.escape_debug()))),
            _ => Err(Error::refused(
                Kind::InvalidInput,
                format!("network {text} is ambiguous ({} matches found)", found.len()),
            )),
        }
    }

    /// Every network that can have containers. Blocks.
    pub(crate) fn all_networks(&self) -> Result<Vec<NetworkRecord>> {
        let mut all = self.store().read(networks::all)?;
        let default = self.predefined(DEFAULT_NETWORK);
        all.push(self.options().network.running(&default.id)?.unwrap_or(default));
        Ok(all)
    }

    /// The containers that name a network, by network. Blocks.
    pub(crate) fn networks_in_use(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in self.store().read(containers::all)? {
            if record.spec.network == NetworkMode::Networks {
                for endpoint in &record.spec.networks {
                    used.entry(endpoint.network.clone()).or_default().push(record.name.clone());
                }
            }
        }
        Ok(used)
    }

    pub(crate) fn predefined(&self, name: &str) -> NetworkRecord {
        let identity = format!("{} {name}", self.store().id());
        NetworkRecord {
            id: mica_layer::Digest::sha256_of(identity.as_bytes()).hex().to_owned(),
            name: name.to_owned(),
            ..NetworkRecord::default()
        }
    }
}

/// Whether a network is what filters ask for.
fn matches(network: &NetworkRecord, filters: &[(String, String)], used: bool) -> Result<bool> {
    let predefined = PREDEFINED.contains(&network.name.as_str());
    let driver = if matches!(network.name.as_str(), "host" | "none") {
        if network.name == "none" { "null" } else { "host" }
    } else {
        network.driver.word()
    };
    for key in ["dangling", "driver", "id", "label", "name", "scope", "type"] {
        let mut values = filters.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).peekable();
        if values.peek().is_none() {
            continue;
        }
        let holds = |value: &str| -> Result<bool> {
            Ok(match key {
                "dangling" => filter::boolean(key, value)? == (!predefined && !used),
                "driver" => driver == value,
                "id" => network.id.starts_with(value),
                "label" => filter::has_label(&network.labels, value),
                "name" => network.name.contains(value),
                "scope" => value == "local",
                _ => match value {
                    "custom" => !predefined,
                    "builtin" => predefined,
                    _ => return Err(Error::refused(Kind::InvalidInput, format!("invalid filter `type={value}`"))),
                },
            })
        };
        let results = values.map(holds).collect::<Result<Vec<bool>>>()?;
        let chosen = if key == "label" { results.iter().all(|held| *held) } else { results.contains(&true) };
        if !chosen {
            return Ok(false);
        }
    }
    Ok(true)
}
