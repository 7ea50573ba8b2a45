//! `network rm` and `network prune`.

use jiff::Timestamp;

use super::list::PREDEFINED;
use crate::events::Actor;
use crate::filter;
use crate::network::NetworkRecord;
use crate::store::{Flush, networks};
use crate::{Engine, Error, Kind, Result};

/// What `network prune` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedNetworks {
    /// Names of networks.
    pub networks: Vec<String>,
}

impl Engine {
    /// Removes a network that no running container is in. Returns what it was.
    pub async fn remove_network(&self, network: &str) -> Result<NetworkRecord> {
        let wanted = network.to_owned();
        let record = self.blocking(move |engine| engine.find_network(&wanted)).await?;
        if PREDEFINED.contains(&record.name.as_str()) {
            let message = format!("{} is a pre-defined network and cannot be removed", record.name);
            return Err(Error::refused(Kind::Denied, message));
        }
        // First what can be refused; a row without anything on the machine is a network that is not up.
        self.options().network.take_down(&record).await?;
        let id = record.id.clone();
        self.blocking(move |engine| engine.store().write(Flush::Now, |db| networks::delete(db, &id))).await?;
        self.tell("network", "destroy", Actor::network(&record));
        Ok(record)
    }

    /// Removes networks that no container names, running or not, and takes the default one down when nobody is in it.
    pub async fn prune_networks(&self, filters: Vec<(String, String)>) -> Result<PrunedNetworks> {
        filter::known(&filters, &["label", "label!", "until"])?;
        let (all, used) = self.blocking(|engine| Ok((engine.all_networks()?, engine.networks_in_use()?))).await?;
        let mut pruned = PrunedNetworks::default();
        for network in all {
            if network.is_default() {
                let idle = self.options().network.members(&network.id)?.is_empty();
                if idle && filters.is_empty() {
                    self.options().network.take_down(&network).await?;
                }
                continue;
            }
            if used.contains_key(&network.name) || !chosen(&network, &filters)? {
                continue;
            }
            match self.remove_network(&network.id).await {
                Ok(_) => pruned.networks.push(network.name),
                // Somebody was faster, or uses it since a moment ago.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        self.tell_prune("network", 0);
        Ok(pruned)
    }
}

fn chosen(network: &NetworkRecord, filters: &[(String, String)]) -> Result<bool> {
    for (name, value) in filters {
        let holds = match name.as_str() {
            "label" => filter::has_label(&network.labels, value),
            "label!" => !filter::has_label(&network.labels, value),
            _ => {
                let limit = filter::point_in_time(value, Timestamp::now())?;
                network.created.parse::<Timestamp>().is_ok_and(|created| created < limit)
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}
