//! The network boundary: networks as values, and what an adapter does with them on this machine.
//!
//! An adapter makes a container's network namespace and everything in it before the container starts. The namespace and what
//! else has to live as long as the container are descriptors, which the monitor holds: when it ends, however it ends, the
//! kernel takes interfaces, port reservations and address translation away. What is left are files below
//! `<run>/networks`, which count only while the container's monitor lives.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::container::{ContainerPort, EndpointSpec, PortSpec};

/// `<run_dir>/network.json`: how a running container is connected ([`NetworkState`]).
pub const STATE: &str = "network.json";

/// Connects containers.
#[async_trait]
pub trait Network: Send + Sync + std::fmt::Debug {
    /// Completes a new network: checks what the driver is asked for, and chooses subnets that neither another network nor a
    /// route of this machine has. Touches nothing.
    async fn design(&self, wanted: NetworkRecord, others: Vec<NetworkRecord>) -> Result<NetworkRecord>;

    /// Makes a namespace for a container and connects it, bringing up the networks that are not up yet. After an error
    /// nothing of it is left.
    async fn attach(&self, request: AttachRequest) -> Result<Attachment>;

    /// Connects a running container to one more network.
    async fn connect(&self, request: ConnectRequest) -> Result<Endpoint>;

    /// Takes a running container out of a network.
    async fn disconnect(&self, request: DisconnectRequest) -> Result<()>;

    /// Publishes the ports of a running container at its place in a network. After an error none of them is published.
    async fn publish(&self, request: PublishRequest) -> Result<Published>;

    /// Forgets a container that does not run: the addresses it had are free. Blocks for some microseconds.
    fn release(&self, endpoints: &[Endpoint]);

    /// Makes it known in its networks that a running container has the names of these places, and the container's own.
    fn rename(&self, container: &Party, endpoints: &[Endpoint]) -> Result<()>;

    /// The network as it is up on this machine, with the subnets chosen for it; `None` when it is not up.
    fn running(&self, network: &str) -> Result<Option<NetworkRecord>>;

    /// The containers in a network that live. Blocks.
    fn members(&self, network: &str) -> Result<Vec<Member>>;

    /// The interface that a bridge network has or would have on this machine.
    fn interface(&self, network: &NetworkRecord) -> String;

    /// Takes a network without containers down: its interface, its rules and its files.
    async fn take_down(&self, network: &NetworkRecord) -> Result<()>;
}

/// How a network's containers reach each other and the rest of the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A bridge on this machine, with address translation to the outside.
    #[default]
    Bridge,
    /// Interfaces of their own on one of this machine's.
    Macvlan,
}

impl NetworkDriver {
    /// The word `--driver` takes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
        }
    }
}

/// A network as the store knows it. Written when it is created, and never changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among networks.
    pub name: String,
    /// RFC 3339 time of creation.
    pub created: String,
    /// How it works.
    pub driver: NetworkDriver,
    /// Its addresses: one IPv4 subnet, and one of IPv6 where that was asked for.
    pub subnets: Vec<Subnet>,
    /// True when containers get IPv6 addresses.
    pub ipv6: bool,
    /// True when nothing leads out of it.
    pub internal: bool,
    /// Docker's flag for swarms, kept and shown.
    pub attachable: bool,
    /// True when its containers have no names in it.
    pub nameless: bool,
    /// Who is asked for names that are not of this network, by containers that name nobody themselves.
    pub name_servers: Vec<IpAddr>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

impl NetworkRecord {
    /// True for the network that every store has: without names, as Docker has it.
    pub fn is_default(&self) -> bool {
        self.name == crate::container::DEFAULT_NETWORK
    }

    /// True when its containers find each other by their names.
    pub fn has_names(&self) -> bool {
        !self.is_default() && !self.nameless
    }

    /// The IPv4 subnet, once one was chosen.
    pub fn ipv4(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv4())
    }

    /// The IPv6 subnet.
    pub fn ipv6(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv6())
    }
}

/// Addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// All of them.
    pub subnet: IpNet,
    /// The host's end of a bridge, or the router of a macvlan.
    pub gateway: Option<IpAddr>,
    /// Where containers' addresses are taken from; the whole subnet when `None`.
    pub range: Option<IpNet>,
    /// Addresses that others have, by what they are called. No container gets one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, IpAddr>,
}

/// A container that is to be connected, before it starts.
#[derive(Debug)]
pub struct AttachRequest {
    /// Who.
    pub container: Party,
    /// Its networks, the first one being that of its default route.
    pub endpoints: Vec<(NetworkRecord, EndpointSpec)>,
    /// Ports to publish.
    pub ports: Vec<PortSpec>,
    /// Name servers that other names are asked of; the host's when empty.
    pub name_servers: Vec<IpAddr>,
    /// A new namespace to connect, which belongs to the container's user namespace; one is made when there is none.
    pub namespace: Option<OwnedFd>,
}

/// A container as networks know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its hot state, with the lock that its monitor holds.
    pub run_dir: PathBuf,
}

/// A container that was connected.
#[derive(Debug)]
pub struct Attachment {
    /// Its network namespace.
    pub namespace: OwnedFd,
    /// What must stay open as long as the container lives: the locks of its addresses, the line to its name server.
    pub kept: Vec<OwnedFd>,
    /// What must stay open as long as its ports are published.
    pub published: Vec<OwnedFd>,
    /// What to remove when it has ended.
    pub files: Vec<PathBuf>,
    /// How it is connected.
    pub state: NetworkState,
}

/// How a container is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkState {
    /// Its place in each network.
    pub endpoints: Vec<Endpoint>,
    /// Its published ports.
    pub ports: Vec<Binding>,
    /// The name server inside, where it has one of its own.
    pub name_server: Option<Ipv4Addr>,
    /// The address at which it reaches the host, for `host-gateway`.
    pub host: Option<IpAddr>,
}

impl NetworkState {
    /// The place at which ports are published: the first on a bridge that packets leave the machine from.
    pub fn way_out(&self) -> Option<&Endpoint> {
        self.endpoints.iter().find(|place| place.driver == NetworkDriver::Bridge && place.gateway.is_some())
    }

    /// Reads that of a running container; the default where it has none.
    pub fn read(run_dir: &Path) -> Result<NetworkState> {
        Ok(crate::store::container_state::read(&run_dir.join(STATE))?.unwrap_or_default())
    }

    /// Writes it.
    pub fn write(&self, run_dir: &Path) -> Result<()> {
        crate::store::container_state::write(&run_dir.join(STATE), self)
    }
}

/// A container's place in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's ID.
    pub network_id: String,
    /// The network's name.
    pub network: String,
    /// How the network works.
    #[serde(default)]
    pub driver: NetworkDriver,
    /// Identity of this place, 64 hexadecimal digits.
    pub id: String,
    /// The interface inside, for example `eth0`.
    pub interface: String,
    /// Its link address.
    pub mac: String,
    /// The IPv4 address with the length of its prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// The router of IPv4.
    pub gateway: Option<Ipv4Addr>,
    /// The IPv6 address with the length of its prefix.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// The router of IPv6.
    pub gateway6: Option<Ipv6Addr>,
    /// Every name that the container has in this network; none on the default network.
    pub names: Vec<String>,
}

/// A port of a container that is published on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The container's.
    pub container: ContainerPort,
    /// The host's address.
    pub address: IpAddr,
    /// The host's port.
    pub port: u16,
}

/// A running container that is to be connected.
#[derive(Debug)]
pub struct ConnectRequest {
    /// Who.
    pub container: Party,
    /// Process ID of its first process.
    pub pid: i32,
    /// Process ID of its monitor.
    pub monitor: i32,
    /// How it is connected so far.
    pub state: NetworkState,
    /// To what.
    pub network: NetworkRecord,
    /// As what.
    pub endpoint: EndpointSpec,
    /// Name servers that other names are asked of; the host's when empty.
    pub name_servers: Vec<IpAddr>,
}

/// A running container that is to be taken out of a network.
#[derive(Debug)]
pub struct DisconnectRequest {
    /// Process ID of its first process.
    pub pid: i32,
    /// Its place.
    pub endpoint: Endpoint,
    /// Its other places. The default route leads through the first that leads anywhere, unless it leads through another already.
    pub others: Vec<Endpoint>,
}

/// A running container whose ports are to be published.
#[derive(Debug)]
pub struct PublishRequest {
    /// Who.
    pub container: Party,
    /// Which ports.
    pub ports: Vec<PortSpec>,
    /// Where it is reached.
    pub network: NetworkRecord,
    /// Its place there.
    pub endpoint: Endpoint,
}

/// Ports that are published.
#[derive(Debug, Default)]
pub struct Published {
    /// Where.
    pub ports: Vec<Binding>,
    /// What must stay open as long as they are.
    pub held: Vec<OwnedFd>,
}

/// A container in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub container: Party,
    /// Its place.
    pub endpoint: Endpoint,
}
