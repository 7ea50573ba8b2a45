//! What starting and ending a container mean for its networks.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::bundle::files::Surroundings;
use crate::container::{ContainerRecord, ContainerSpec, NetworkMode, PortSpec, parse_expose};
use crate::network::{AttachRequest, Attachment, NetworkState, Party, STATE};
use crate::store::private_directory;
use crate::{Engine, Error, Kind, Result};

/// What a container that is being started has of networks.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    pub(crate) namespace: Option<OwnedFd>,
    pub(crate) kept: Vec<OwnedFd>,
    pub(crate) published: Vec<OwnedFd>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) surroundings: Surroundings,
    /// The container whose names and resolver this one shares.
    pub(crate) host_files: Option<PathBuf>,
}

impl Engine {
    /// Makes a container's network, in `namespace` where there is one for it, or finds the one it shares. Costs nothing where it
    /// has none of its own.
    pub(crate) async fn join_networks(
        &self,
        record: &ContainerRecord,
        namespace: Option<OwnedFd>,
    ) -> Result<Connected> {
        match &record.spec.network {
            NetworkMode::None | NetworkMode::Host => Ok(Connected::default()),
            NetworkMode::Container(other) => self.share(record, other).await,
            NetworkMode::Networks => self.attach_to(self.party(record), &record.spec, ports(record)?, namespace).await,
        }
    }

    /// A container as networks know it.
    pub(crate) fn party(&self, record: &ContainerRecord) -> Party {
        let run_dir = self.store().directories(&record.id).run;
        Party { id: record.id.clone(), name: record.name.clone(), run_dir }
    }

    /// Connects something that is about to start to the networks of its request.
    pub(crate) async fn attach_to(
        &self,
        container: Party,
        spec: &ContainerSpec,
        ports: Vec<PortSpec>,
        namespace: Option<OwnedFd>,
    ) -> Result<Connected> {
        let mut endpoints = Vec::new();
        for endpoint in &spec.networks {
            endpoints.push((self.ready_network(&endpoint.network).await?, endpoint.clone()));
        }
        let mut name_servers = name_servers(spec)?;
        if name_servers.is_empty() {
            name_servers.extend(endpoints.iter().flat_map(|(network, _)| &network.name_servers));
        }
        let run_dir = container.run_dir.clone();
        private_directory(&run_dir)?;
        let request = AttachRequest { container, endpoints, ports, name_servers, namespace };
        let Attachment { namespace, kept, published, mut files, state } =
            self.options().network.attach(request).await?;
        if let Err(error) = state.write(&run_dir) {
            self.options().network.release(&state.endpoints);
            return Err(error);
        }
        files.push(run_dir.join(STATE));
        Ok(Connected {
            namespace: Some(namespace),
            kept,
            published,
            files,
            surroundings: Surroundings::of(state),
            host_files: None,
        })
    }

    /// Forgets how a container was connected that does not run. Blocks.
    pub(crate) fn release_networks(&self, run_dir: &Path) {
        let path = run_dir.join(STATE);
        if !path.exists() {
            return;
        }
        if let Ok(state) = NetworkState::read(run_dir) {
            self.options().network.release(&state.endpoints);
        }
        let _ = fs_err::remove_file(path);
    }

    async fn share(&self, record: &ContainerRecord, other: &str) -> Result<Connected> {
        let (found, state) = self.look_up(other).await?;
        let Some(pid) = state.pid().filter(|_| found.id != record.id) else {
            let message = format!("cannot join network of a non running container: {}", found.id);
            return Err(Error::refused(Kind::Conflict, message));
        };
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io("open", &path)(errno.into()))?;
        let host_files = Some(self.store().directories(&found.id).state);
        Ok(Connected { namespace: Some(namespace), host_files, ..Connected::default() })
    }
}

/// The ports of a container that are to be published: those asked for, then with `-P` those exposed.
pub(crate) fn ports(record: &ContainerRecord) -> Result<Vec<PortSpec>> {
    let spec = &record.spec;
    let mut ports = spec.ports.clone();
    if spec.publish_all {
        for container in exposed(record)? {
            if !ports.iter().any(|port| port.container == container) {
                ports.push(PortSpec { address: None, host: None, container });
            }
        }
    }
    Ok(ports)
}

/// The ports that an image or a request says are listened on.
pub fn exposed(record: &ContainerRecord) -> Result<Vec<crate::container::ContainerPort>> {
    let mut exposed = record.spec.expose.clone();
    for key in record.config.exposed_ports.iter().flat_map(|ports| ports.keys()) {
        exposed.extend(parse_expose(key)?);
    }
    exposed.extend(record.spec.ports.iter().map(|port| port.container));
    exposed.sort_unstable_by_key(|port| (port.port, port.protocol));
    exposed.dedup();
    Ok(exposed)
}

pub(crate) fn name_servers(spec: &ContainerSpec) -> Result<Vec<std::net::IpAddr>> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| Error::refused(Kind::InvalidInput, format!("invalid IP address of a name server: `{text}`")))
    };
    spec.dns.iter().map(parse).collect()
}

/// What can be known to be wrong about networks before anything is made.
pub(crate) fn validate(spec: &ContainerSpec) -> Result<()> {
    name_servers(spec)?;
    let wrong = |message: &str| Err(Error::refused(Kind::InvalidInput, message));
    let names: std::collections::HashSet<&str> = spec.networks.iter().map(|place| place.network.as_str()).collect();
    match &spec.network {
        NetworkMode::Networks if spec.networks.is_empty() => wrong("a container in the mode of networks names none"),
        NetworkMode::Networks if names.len() < spec.networks.len() => wrong("a network is named twice"),
        NetworkMode::Networks => Ok(()),
        NetworkMode::Container(_) if !spec.ports.is_empty() || spec.publish_all => {
            wrong("conflicting options: port publishing and the container type network mode")
        }
        NetworkMode::Container(_) if spec.hostname.is_some() => {
            wrong("conflicting options: hostname and the network mode")
        }
        NetworkMode::Container(_) if !spec.dns.is_empty() || !spec.add_hosts.is_empty() => {
            wrong("conflicting options: dns or custom host-to-IP mapping and the container type network mode")
        }
        _ => Ok(()),
    }
}
