//! `network connect` and `network disconnect`: the record first, so that the next start has it too, then what runs.

use crate::bundle::files::Surroundings;
use crate::container::{ContainerRecord, EndpointSpec, NetworkMode};
use crate::events::Actor;
use crate::network::{ConnectRequest, DisconnectRequest, Endpoint, NetworkState, PublishRequest, Published};
use crate::ops::networking::{name_servers, ports};
use crate::ops::prepare::{hostname, write_files};
use crate::runtime::RunState;
use crate::store::container_state::read;
use crate::store::{Flush, containers};
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Connects a container to a network, at once when it runs, and at every start from now on.
    pub async fn connect_network(&self, container: &str, endpoint: EndpointSpec) -> Result<()> {
        let (record, state) = self.look_up(container).await?;
        let network = self.ready_network(&endpoint.network).await?;
        let endpoint = EndpointSpec { network: network.name.clone(), ..endpoint };
        if matches!(record.spec.network, NetworkMode::Host | NetworkMode::Container(_)) {
            let message = "container sharing a network namespace with another container or host cannot be connected to any other network";
            return Err(Error::refused(Kind::InvalidInput, message));
        }
        if network.is_default() && !endpoint.aliases.is_empty() {
            return Err(Error::refused(
                Kind::InvalidInput,
                "network-scoped alias is supported only for containers in user defined networks",
            ));
        }
        if record.spec.networks.iter().any(|other| other.network == endpoint.network) {
            let message = format!("endpoint with name {} already exists in network {}", record.name, endpoint.network);
            return Err(Error::refused(Kind::Conflict, message));
        }
        if record.spec.network == NetworkMode::None && state.is_running() {
            return Err(Error::refused(
                Kind::Conflict,
                "container cannot be connected to multiple networks with one of the networks in private (none) mode",
            ));
        }
        if let Some(pid) = state.pid() {
            let run_dir = self.store().directories(&record.id).run;
            let mut connected = NetworkState::read(&run_dir)?;
            let monitor = read::<RunState>(&run_dir.join("state.json"))?.map(|state| state.monitor_pid);
            let monitor = monitor
                .ok_or_else(|| Error::refused(Kind::Conflict, format!("container {} is not running", record.id)))?;
            let request = ConnectRequest {
                container: self.party(&record),
                pid,
                monitor,
                state: connected.clone(),
                network: network.clone(),
                endpoint: endpoint.clone(),
                name_servers: name_servers(&record.spec)?,
            };
            let place = self.options().network.connect(request).await?;
            let named = !place.names.is_empty();
            let before = connected.way_out().cloned();
            connected.endpoints.push(place.clone());
            if let Err(error) = self.move_ports(&record, &mut connected, before).await {
                let back = DisconnectRequest { pid, endpoint: place, others: Vec::new() };
                return self.options().network.disconnect(back).await.and(Err(error));
            }
            if named && connected.name_server.is_none() {
                connected.name_server = Some(std::net::Ipv4Addr::new(127, 0, 0, 11));
            }
            connected.write(&run_dir)?;
            self.rewrite_files(&record, connected)?;
        }
        self.change_networks(&record.id, move |networks| networks.push(endpoint.clone())).await?;
        self.tell("network", "connect", Actor::network(&network).with("container", &record.id));
        Ok(())
    }

    /// Takes a container out of a network. With `force` a container that is gone is no error.
    pub async fn disconnect_network(&self, container: &str, network: &str, force: bool) -> Result<()> {
        let wanted = network.to_owned();
        let network = self.blocking(move |engine| engine.find_network(&wanted)).await?;
        let (record, state) = match self.look_up(container).await {
            Ok(found) => found,
            Err(error) if force && error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if !record.spec.networks.iter().any(|endpoint| endpoint.network == network.name) {
            let message = format!("container {} is not connected to network {}", record.id, network.name);
            return Err(Error::refused(Kind::NotFound, message));
        }
        // That the ports find no other place does not keep the container in the network.
        let mut moved = Ok(());
        if let Some(pid) = state.pid() {
            let run_dir = self.store().directories(&record.id).run;
            let mut connected = NetworkState::read(&run_dir)?;
            if let Some(at) = connected.endpoints.iter().position(|endpoint| endpoint.network == network.name) {
                let before = connected.way_out().cloned();
                let endpoint = connected.endpoints.remove(at);
                let others = by_priority(&connected.endpoints, &record.spec.networks);
                self.options().network.disconnect(DisconnectRequest { pid, endpoint, others }).await?;
                moved = self.move_ports(&record, &mut connected, before).await;
                connected.write(&run_dir)?;
                self.rewrite_files(&record, connected)?;
            }
        }
        let name = network.name.clone();
        self.change_networks(&record.id, move |networks| networks.retain(|endpoint| endpoint.network != name)).await?;
        self.tell("network", "disconnect", Actor::network(&network).with("container", &record.id));
        moved
    }

    /// Publishes a running container's ports where it is reached now, if that is not where it was.
    async fn move_ports(
        &self,
        record: &ContainerRecord,
        connected: &mut NetworkState,
        before: Option<Endpoint>,
    ) -> Result<()> {
        let now = connected.way_out().cloned();
        let ports = ports(record)?;
        if now == before || ports.is_empty() {
            return Ok(());
        }
        let run_dir = self.store().directories(&record.id).run;
        if before.is_some() {
            connected.ports.clear();
            self.options().runtime.hold_ports(&run_dir, Vec::new()).await?;
        }
        let Some(endpoint) = now else { return Ok(()) };
        let network = self.ready_network(&endpoint.network).await?;
        let request = PublishRequest { container: self.party(record), ports, network, endpoint };
        let Published { ports, held } = self.options().network.publish(request).await?;
        self.options().runtime.hold_ports(&run_dir, held).await?;
        connected.ports = ports;
        Ok(())
    }

    async fn change_networks(&self, id: &str, change: impl Fn(&mut Vec<EndpointSpec>) + Send + 'static) -> Result<()> {
        let id = id.to_owned();
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| {
                containers::update(db, &id, |record| {
                    change(&mut record.spec.networks);
                    // One that was taken out of its last network may be connected again while it runs.
                    record.spec.network = NetworkMode::Networks;
                })
            })
        })
        .await
    }

    /// Writes the files of a running container in place: they are mounted into it.
    fn rewrite_files(&self, record: &ContainerRecord, state: NetworkState) -> Result<()> {
        let mut spec = record.spec.clone();
        spec.network = NetworkMode::Networks;
        let directory = self.store().directories(&record.id).state;
        write_files(&directory, &hostname(record), &spec, &Surroundings::of(state))
    }
}

/// Places in the order in which the default route prefers them.
fn by_priority(places: &[Endpoint], asked: &[EndpointSpec]) -> Vec<Endpoint> {
    let priority = |place: &Endpoint| {
        asked.iter().find(|spec| spec.network == place.network).map_or(0, |spec| spec.gateway_priority)
    };
    let mut places = places.to_vec();
    places.sort_by_key(|place| std::cmp::Reverse(priority(place)));
    places
}
