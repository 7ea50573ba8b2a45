//! [`KernelNetwork`]: the engine's `Network` on this machine's kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ipnet::IpNet;
use mica_engine::container::EndpointSpec;
use mica_engine::network::{
    AttachRequest, Attachment, Binding, ConnectRequest, DisconnectRequest, Endpoint, Member, Network, NetworkDriver,
    NetworkRecord, NetworkState, Party, PublishRequest, Published,
};
use mica_engine::{Kind, Result as EngineResult};

use crate::around::Around;
use crate::error::{Error, Result};
use crate::host::{self, Kernel, Place, Up};
use crate::inside::{self, NameSockets, Routes};
use crate::lease::{self, Lease};
use crate::options::Options;
use crate::pool::{self, Pool};
use crate::publish::{Reach, Reserved};
use crate::resolvers;
use crate::rules::Owner;
use crate::serve::{self, Life, Names};
use crate::{carry, link, publish};

/// Networks by the kernel of this machine: bridges, veth pairs, macvlans, nftables.
#[derive(Debug, Clone)]
pub struct KernelNetwork {
    place: Place,
    pools: Vec<Pool>,
    programs: Programs,
    around: Option<Around>,
}

/// The programs that live beside containers.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `mica-names`, which answers containers' questions.
    pub names: PathBuf,
    /// `mica-ports`, which carries ports.
    pub ports: PathBuf,
}

impl KernelNetwork {
    /// Networks whose hot state is below `run_root`. `tag` tells stores on one machine apart: it ends the names of the default
    /// bridge and of the rules.
    pub fn new(run_root: &Path, tag: Option<&str>, programs: Programs) -> Self {
        let place = Place {
            directory: run_root.join("networks"),
            bridge: format!("mica{}", tag.unwrap_or("0")),
            table: tag.map_or_else(|| "mica".to_owned(), |tag| format!("mica-{tag}")),
            owner: Owner::Others,
        };
        Self { place, pools: pool::usual(), programs, around: None }
    }

    /// The same with these pools of addresses, unless there are none.
    #[must_use]
    pub fn with_pools(mut self, pools: Vec<Pool>) -> Self {
        if !pools.is_empty() {
            self.pools = pools;
        }
        self
    }

    /// The same in a network namespace of a user without privileges.
    #[must_use]
    pub fn within(self, around: Option<Around>) -> Self {
        let owner = if around.is_some() { Owner::Us } else { Owner::Others };
        Self { around, place: Place { owner, ..self.place }, ..self }
    }

    /// Works on a thread of its own where the networks are.
    async fn there<T: Send + 'static>(&self, work: impl FnOnce(Self) -> Result<T> + Send + 'static) -> Result<T> {
        let this = self.clone();
        inside::apart(move || {
            this.go_there()?;
            work(this)
        })
        .await
    }

    /// Puts this thread where the networks are.
    fn go_there(&self) -> Result<()> {
        self.around.as_ref().map_or(Ok(()), |around| inside::enter(around.namespace.as_fd()).map(drop))
    }

    fn taken(&self, record: &NetworkRecord, others: &[NetworkRecord]) -> Result<Vec<IpNet>> {
        // The network's own bridge may be up, and then its subnet is no stranger's.
        let own: Vec<IpNet> = self.place.running(&record.id)?.iter().flat_map(subnets).collect();
        let mut taken: Vec<IpNet> = others.iter().filter(|other| other.id != record.id).flat_map(subnets).collect();
        if record.driver == NetworkDriver::Bridge {
            let routes = Kernel::open()?.destinations()?;
            taken.extend(routes.into_iter().filter(|route| !own.contains(route)));
        }
        Ok(taken)
    }
}

fn subnets(record: &NetworkRecord) -> Vec<IpNet> {
    record.subnets.iter().map(|subnet| subnet.subnet).collect()
}

#[async_trait]
impl Network for KernelNetwork {
    async fn design(&self, wanted: NetworkRecord, others: Vec<NetworkRecord>) -> EngineResult<NetworkRecord> {
        Ok(self
            .there(move |this| {
                let options = Options::parse(&wanted)?;
                options.refuse_unknown()?;
                if wanted.driver == NetworkDriver::Macvlan {
                    if options.parent.is_none() {
                        let message =
                            "a macvlan network needs the interface of this machine that it stands on: `-o parent=NAME`";
                        return Err(Error::refused(Kind::InvalidInput, message));
                    }
                    if wanted.ipv4().is_none() {
                        return Err(Error::refused(Kind::InvalidInput, "a macvlan network needs `--subnet`"));
                    }
                }
                let taken = this.taken(&wanted, &others)?;
                pool::settle(wanted, &this.pools, &taken)
            })
            .await?)
    }

    async fn attach(&self, request: AttachRequest) -> EngineResult<Attachment> {
        let this = self.clone();
        let wired = inside::apart(move || this.wire(request)).await?;
        let Wired { namespace, leases, state, sockets, names, led } = wired;
        let mut kept = Vec::new();
        if let (Some(sockets), Some(names)) = (sockets, names) {
            // Started here and not on the thread above, whose children would live in the container's network.
            kept.push(serve::start(&self.programs.names, &names, &sockets, Life::Line)?);
        }
        let published = led.map(|led| self.carry(led)).transpose()?.unwrap_or_default();
        let files = leases.iter().map(|lease| lease.path().to_owned()).collect();
        kept.extend(leases.into_iter().filter_map(Lease::hand_over));
        let state = NetworkState { ports: published.ports, ..state };
        Ok(Attachment { namespace, kept, published: published.held, files, state })
    }

    async fn connect(&self, request: ConnectRequest) -> EngineResult<Endpoint> {
        let (endpoint, serving) = self.there(move |this| this.wire_more(request)).await?;
        if let Some(Serving { names, sockets, monitor }) = serving {
            serve::start(&self.programs.names, &names, &sockets, Life::Process(monitor))?;
        }
        Ok(endpoint)
    }

    async fn disconnect(&self, request: DisconnectRequest) -> EngineResult<()> {
        Ok(self
            .there(move |this| {
                let namespace = inside::open_namespace(&of_process(request.pid))?;
                let socket = inside::enter(namespace.as_fd())?;
                let name = &request.endpoint.interface;
                let context = || format!("disconnect a container from network `{}`", request.endpoint.network);
                if let Some(link) = link::find(&socket, name).map_err(Error::link(context()))? {
                    link::remove(&socket, link.index).map_err(Error::link(context()))?;
                }
                inside::lead_out(&socket, &request.others)?;
                this.release(std::slice::from_ref(&request.endpoint));
                Ok(())
            })
            .await?)
    }

    async fn publish(&self, request: PublishRequest) -> EngineResult<Published> {
        let this = self.clone();
        let led = inside::apart(move || {
            // The machine's ports, so before this thread leaves the machine's network.
            let reserved = publish::reserve(&request.ports, &request.network, this.reach())?;
            this.go_there()?;
            inside::allow_hairpin(&Kernel::open()?, &request.endpoint)?;
            this.lead(&request.container, reserved, &request.endpoint)
        });
        Ok(self.carry(led.await?)?)
    }

    fn release(&self, endpoints: &[Endpoint]) {
        for endpoint in endpoints {
            if let Some((address, _)) = endpoint.ipv4 {
                lease::release(&self.place.of(&endpoint.network_id), address);
            }
        }
    }

    fn rename(&self, container: &Party, endpoints: &[Endpoint]) -> EngineResult<()> {
        for endpoint in endpoints {
            let member = Member { container: container.clone(), endpoint: endpoint.clone() };
            lease::replace(&self.place.of(&endpoint.network_id), &member)?;
        }
        Ok(())
    }

    fn running(&self, network: &str) -> EngineResult<Option<NetworkRecord>> {
        Ok(self.place.running(network)?)
    }

    fn members(&self, network: &str) -> EngineResult<Vec<Member>> {
        Ok(lease::members(&self.place.of(network))?)
    }

    fn interface(&self, network: &NetworkRecord) -> String {
        self.place.interface(network)
    }

    async fn take_down(&self, network: &NetworkRecord) -> EngineResult<()> {
        let network = network.clone();
        Ok(self
            .there(move |this| {
                if !this.place.of(&network.id).exists() {
                    return Ok(());
                }
                this.place.take_down(&Kernel::open()?, &network)
            })
            .await?)
    }
}

/// What tells the store with this run root apart from others on the machine: six hexadecimal digits.
pub fn tag_of(run_root: &Path) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(run_root.as_os_str().as_encoded_bytes());
    digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect()
}

/// A namespace with everything in it.
struct Wired {
    namespace: OwnedFd,
    leases: Vec<Lease>,
    state: NetworkState,
    sockets: Option<NameSockets>,
    names: Option<Names>,
    led: Option<Led>,
}

/// Ports that packet rules lead to a container, and those that are still to be carried there.
struct Led {
    published: Published,
    carried: Vec<(Binding, OwnedFd)>,
    endpoint: Endpoint,
    /// Where the container is reached from.
    namespace: OwnedFd,
}

/// A name server that is to be started for a container that runs.
struct Serving {
    names: Names,
    sockets: NameSockets,
    /// A descriptor of its monitor.
    monitor: OwnedFd,
}

impl KernelNetwork {
    /// Everything on the host first, while this thread is still there; then the namespace.
    fn wire(&self, request: AttachRequest) -> Result<Wired> {
        let published =
            request.endpoints.iter().position(|(network, _)| leads_out(network)).filter(|_| !request.ports.is_empty());
        // The machine's ports, so before this thread leaves the machine's network.
        let reserved = published
            .map(|index| publish::reserve(&request.ports, &request.endpoints[index].0, self.reach()))
            .transpose()?;
        if let Some(around) = &self.around
            && request.endpoints.iter().any(|(network, _)| leads_out(network))
        {
            around.open()?;
        }
        self.go_there()?;
        let kernel = Kernel::open()?;
        let (mut ups, mut leases, mut state) = (Vec::new(), Vec::new(), NetworkState::default());
        for (index, (network, spec)) in request.endpoints.iter().enumerate() {
            let up = self.place.bring_up(&kernel, network)?;
            let interface = format!("{}{index}", Options::of(network).prefix());
            let (lease, endpoint) = self.place_in(&up, &request.container, spec, interface, &state)?;
            leases.push(lease);
            state.endpoints.push(endpoint);
            ups.push(up);
        }
        let place = published.map(|index| state.endpoints[index].clone());
        let led = match (reserved, &place) {
            (Some(reserved), Some(place)) => Some(self.lead(&request.container, reserved, place)?),
            _ => None,
        };
        state.host =
            ups.iter().find(|up| up.record.driver == NetworkDriver::Bridge).and_then(|up| host::gateway(&up.record));
        let own_names = ups.iter().any(|up| up.record.has_names())
            || (request.name_servers.is_empty() && resolvers::only_loopback());
        let (namespace, socket) = inside::begin(request.namespace)?;
        let leading = leading(&request.endpoints);
        for (index, (up, endpoint)) in ups.iter().zip(&state.endpoints).enumerate() {
            let routes = if leading == Some(index) { Routes::Default } else { Routes::Own };
            inside::connect(&kernel, &socket, namespace.as_fd(), up, endpoint, routes)?;
        }
        if let Some(place) = &place {
            inside::allow_hairpin(&kernel, place)?;
        }
        let (mut sockets, mut names) = (None, None);
        if own_names {
            sockets = Some(inside::name_sockets()?);
            names = Some(self.names_of(&request.container, request.name_servers));
            state.name_server = Some(inside::NAME_SERVER);
        }
        Ok(Wired { namespace, leases, state, sockets, names, led })
    }

    /// What leads to a container what comes to ports of the machine.
    fn reach(&self) -> Reach {
        if self.around.is_some() { Reach::Program } else { Reach::Kernel }
    }

    /// Leads reserved ports to a container, on a thread that is where the networks are.
    fn lead(&self, container: &Party, reserved: Reserved, endpoint: &Endpoint) -> Result<Led> {
        let table = format!("{}-{}", self.place.table, container.id.get(..12).unwrap_or_default());
        let rules = publish::lead(publish::filter()?, &table, &reserved.bindings, endpoint)?;
        let mut held = vec![rules];
        held.extend(reserved.sockets);
        let namespace = inside::open_namespace(Path::new("/proc/thread-self/ns/net"))?;
        let published = Published { ports: reserved.bindings, held };
        Ok(Led { published, carried: reserved.carried, endpoint: endpoint.clone(), namespace })
    }

    /// Has the ports carried that packet rules lead nowhere.
    fn carry(&self, led: Led) -> Result<Published> {
        let Led { mut published, carried, endpoint, namespace } = led;
        if !carried.is_empty() {
            published.held.push(carry::carry(&self.programs.ports, namespace.as_fd(), &carried, &endpoint)?);
        }
        Ok(published)
    }

    fn wire_more(&self, request: ConnectRequest) -> Result<(Endpoint, Option<Serving>)> {
        if let Some(around) = self.around.as_ref().filter(|_| leads_out(&request.network)) {
            around.open()?;
        }
        let kernel = Kernel::open()?;
        let up = self.place.bring_up(&kernel, &request.network)?;
        let taken = |name: &String| request.state.endpoints.iter().any(|endpoint| endpoint.interface == *name);
        let options = Options::of(&request.network);
        let names = (0..).map(|number| format!("{}{number}", options.prefix()));
        let interface = names.into_iter().find(|name| !taken(name)).unwrap_or_default();
        let (lease, endpoint) = self.place_in(&up, &request.container, &request.endpoint, interface, &request.state)?;
        let process = |pid: i32| {
            rustix::process::Pid::from_raw(pid)
                .ok_or(rustix::io::Errno::SRCH)
                .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
                .map_err(|errno| Error::link("watch a container's monitor")(errno.into()))
        };
        let namespace = inside::open_namespace(&of_process(request.pid))?;
        let socket = inside::enter(namespace.as_fd())?;
        let has_way_out = request.state.endpoints.iter().any(|endpoint| endpoint.gateway.is_some());
        let routes = if has_way_out { Routes::Own } else { Routes::Default };
        inside::connect(&kernel, &socket, namespace.as_fd(), &up, &endpoint, routes)?;
        let serving = if request.state.name_server.is_none() && up.record.has_names() {
            let names = self.names_of(&request.container, request.name_servers);
            Some(Serving { names, sockets: inside::name_sockets()?, monitor: process(request.monitor)? })
        } else {
            None
        };
        // From here on the address is held by the monitor's lock.
        drop(lease.hand_over());
        Ok((endpoint, serving))
    }

    fn place_in(
        &self,
        up: &Up,
        container: &Party,
        spec: &EndpointSpec,
        interface: String,
        state: &NetworkState,
    ) -> Result<(Lease, Endpoint)> {
        let record = &up.record;
        let Some(subnet) = record.ipv4() else {
            return Err(Error::refused(Kind::Internal, format!("network `{}` has no IPv4 subnet", record.name)));
        };
        let lease = lease::take(&up.directory, subnet, spec.ip)?;
        let address = lease.address;
        let outward = |gateway: Option<IpAddr>| gateway.filter(|_| !record.internal);
        let ipv6 = match (record.ipv6(), spec.ip6) {
            (None, Some(address)) => {
                let message = format!("address `{address}` is of no subnet of network `{}`", record.name);
                return Err(Error::refused(Kind::InvalidInput, message));
            }
            (None, None) => None,
            (Some(subnet), wanted) => Some(ipv6_of(up, subnet.subnet, record, address, wanted)?),
        };
        let endpoint = Endpoint {
            network_id: record.id.clone(),
            network: record.name.clone(),
            driver: record.driver,
            id: random_id(),
            interface: spec.interface.clone().unwrap_or(interface),
            mac: spec.mac.clone().unwrap_or_else(|| shown(link::mac_of(address))),
            ipv4: Some((address, subnet.subnet.prefix_len())),
            gateway: outward(subnet.gateway).and_then(ipv4_only),
            ipv6,
            gateway6: record.ipv6().and_then(|subnet| outward(subnet.gateway)).and_then(|gateway| match gateway {
                IpAddr::V6(gateway) => Some(gateway),
                IpAddr::V4(_) => None,
            }),
            names: if record.has_names() { names(container, spec) } else { Vec::new() },
        };
        if state.endpoints.iter().any(|other| other.network_id == endpoint.network_id) {
            let message = format!("endpoint with name {} already exists in network {}", container.name, record.name);
            return Err(Error::refused(Kind::Conflict, message));
        }
        if state.endpoints.iter().any(|other| other.interface == endpoint.interface) {
            let message = format!("two interfaces of the container would be called `{}`", endpoint.interface);
            return Err(Error::refused(Kind::Conflict, message));
        }
        lease.fill(&Member { container: container.clone(), endpoint: endpoint.clone() })?;
        Ok((lease, endpoint))
    }

    fn names_of(&self, container: &Party, upstream: Vec<IpAddr>) -> Names {
        Names { run_dir: container.run_dir.clone(), networks: self.place.directory.clone(), upstream }
    }
}

/// True for bridges that packets leave the machine from.
fn leads_out(network: &NetworkRecord) -> bool {
    network.driver == NetworkDriver::Bridge && !network.internal
}

/// The network that a container's default route leads through: of those that lead anywhere the one with the highest priority,
/// and of several the first.
fn leading(endpoints: &[(NetworkRecord, EndpointSpec)]) -> Option<usize> {
    let outward = endpoints.iter().enumerate().filter(|(_, (network, _))| !network.internal);
    outward.max_by_key(|(index, (_, spec))| (spec.gateway_priority, std::cmp::Reverse(*index))).map(|(index, _)| index)
}

fn ipv6_of(
    up: &Up,
    net: IpNet,
    record: &NetworkRecord,
    address: Ipv4Addr,
    wanted: Option<std::net::Ipv6Addr>,
) -> Result<(std::net::Ipv6Addr, u8)> {
    let (IpNet::V6(net), Some(IpNet::V4(ipv4))) = (net, record.ipv4().map(|subnet| subnet.subnet)) else {
        return Err(Error::refused(Kind::Internal, "subnets of the wrong families"));
    };
    let address6 = wanted.unwrap_or_else(|| link::same_host(net, ipv4, address));
    let gateway = record.ipv6().and_then(|subnet| subnet.gateway);
    if !net.contains(&address6) || gateway == Some(address6.into()) {
        let message = format!("address `{address6}` is not one of the free addresses of subnet `{net}`");
        return Err(Error::refused(Kind::InvalidInput, message));
    }
    // What was asked for may be another's by its host number, or the other way round.
    if lease::members(&up.directory)?
        .iter()
        .any(|member| member.endpoint.ipv6.is_some_and(|(other, _)| other == address6))
    {
        return Err(Error::refused(Kind::Conflict, format!("Address already in use: `{address6}`")));
    }
    Ok((address6, net.prefix_len()))
}

fn names(container: &Party, spec: &EndpointSpec) -> Vec<String> {
    let mut names = vec![container.name.clone()];
    names.extend(spec.aliases.iter().cloned());
    names.push(container.id.get(..12).unwrap_or(&container.id).to_owned());
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    names
}

fn of_process(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

fn ipv4_only(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn shown(mac: [u8; 6]) -> String {
    mac.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

fn random_id() -> String {
    (0..4).map(|_| format!("{:016x}", fastrand::u64(..))).collect()
}
