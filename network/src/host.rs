//! The host's side of networks: their bridges, what the kernel must do for them, and the table of rules.
//!
//! A network is up while its bridge is there, `<run>/networks/<id>/network.json` says what it is, and the table of rules is
//! there. Each of these may be taken away by somebody else; whoever needs the network next puts it back.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use mica_engine::Kind;
use mica_engine::network::{NetworkDriver, NetworkRecord};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::lease;
use crate::link;
use crate::netlink::RouteSocket;
use crate::nft::{Family, message};
use crate::options::Options;
use crate::publish;
use crate::rules::{self, Bridge, Owner};

/// Where the networks of a store are on this machine.
#[derive(Debug, Clone)]
pub struct Place {
    /// `<run>/networks`.
    pub directory: PathBuf,
    /// The default network's bridge.
    pub bridge: String,
    /// The table of rules, and the beginning of the names of containers' own tables.
    pub table: String,
    /// Whose namespace they are in.
    pub owner: Owner,
}

/// Sockets to the kernel's parts for links and for packet rules.
#[derive(Debug)]
pub struct Kernel {
    /// Links, addresses, routes.
    pub route: RouteSocket,
    /// Packet rules.
    pub filter: OwnedFd,
}

/// A network that is up.
#[derive(Debug)]
pub struct Up {
    /// What it is.
    pub record: NetworkRecord,
    /// Its bridge, or the interface a macvlan stands on.
    pub link: link::Link,
    /// Its files.
    pub directory: PathBuf,
}

impl Kernel {
    /// Opens both in the namespace of this thread.
    pub fn open() -> Result<Self> {
        let route = RouteSocket::open().map_err(Error::link("reach the kernel's links"))?;
        Ok(Self { route, filter: publish::filter()? })
    }

    /// What the machine's routes lead to.
    pub fn destinations(&self) -> Result<Vec<IpNet>> {
        Ok(link::routes(&self.route).map_err(Error::link("list the routes of this machine"))?.destinations)
    }

    fn find(&self, name: &str) -> Result<Option<link::Link>> {
        link::find(&self.route, name).map_err(Error::link(format!("look up interface `{name}`")))
    }
}

impl Place {
    /// A network's files.
    pub fn of(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    /// The bridge of a network.
    pub fn interface(&self, record: &NetworkRecord) -> String {
        match Options::of(record).bridge {
            Some(name) => name,
            None if record.is_default() => self.bridge.clone(),
            None => format!("br-{}", record.id.get(..12).unwrap_or(&record.id)),
        }
    }

    /// The network as it is up, as far as its file says.
    pub fn running(&self, id: &str) -> Result<Option<NetworkRecord>> {
        let path = self.of(id).join("network.json");
        match fs_err::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| Error::Record { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// Brings a network up unless it is.
    pub fn bring_up(&self, kernel: &Kernel, wanted: &NetworkRecord) -> Result<Up> {
        if wanted.driver == NetworkDriver::Macvlan {
            return self.parent(kernel, wanted);
        }
        let name = self.interface(wanted);
        let found = kernel.find(&name)?;
        if let (Some(link), Some(record)) = (found, self.running(&wanted.id)?)
            && message::has_table(&kernel.filter, Family::Inet, &self.table).map_err(rules_refused)?
        {
            return Ok(Up { record, link, directory: self.of(&wanted.id) });
        }
        fs_err::create_dir_all(self.of(&wanted.id)).map_err(Error::file("create directory", self.of(&wanted.id)))?;
        let _alone = lease::lock(&self.directory.join("lock"))?;
        let record = self.running(&wanted.id)?.unwrap_or_else(|| wanted.clone());
        let link = match kernel.find(&name)? {
            Some(link) => link,
            None => self.add_bridge(kernel, &record, &name)?,
        };
        let path = self.of(&record.id).join("network.json");
        let text = serde_json::to_vec(&record).map_err(|source| Error::Record { path: path.clone(), source })?;
        fs_err::write(path.with_extension("new"), text).map_err(Error::file("write", &path))?;
        fs_err::rename(path.with_extension("new"), &path).map_err(Error::file("write", &path))?;
        self.write_rules(kernel)?;
        Ok(Up { record, link, directory: self.of(&wanted.id) })
    }

    /// Takes a network down. The caller knows that it has no containers.
    pub fn take_down(&self, kernel: &Kernel, record: &NetworkRecord) -> Result<()> {
        if !self.of(&record.id).exists() {
            return Ok(());
        }
        let _alone = lease::lock(&self.directory.join("lock"))?;
        let members = lease::members(&self.of(&record.id))?;
        if let Some(member) = members.first() {
            return Err(Error::refused(
                Kind::Conflict,
                format!("network `{}` has active endpoints: container `{}`", record.name, member.container.name),
            ));
        }
        if record.driver == NetworkDriver::Bridge
            && let Some(link) = kernel.find(&self.interface(record))?
        {
            link::remove(&kernel.route, link.index)
                .map_err(Error::link(format!("remove the bridge of network `{}`", record.name)))?;
        }
        fs_err::remove_dir_all(self.of(&record.id)).map_err(Error::file("remove", self.of(&record.id)))?;
        if record.driver == NetworkDriver::Bridge { self.write_rules(kernel) } else { Ok(()) }
    }

    fn parent(&self, kernel: &Kernel, record: &NetworkRecord) -> Result<Up> {
        let name = Options::of(record).parent.unwrap_or_default();
        let missing = || {
            Error::refused(
                Kind::Unavailable,
                format!("the parent interface `{name}` of network `{}` does not exist", record.name),
            )
        };
        let link = kernel.find(&name)?.ok_or_else(missing)?;
        let directory = self.of(&record.id);
        fs_err::create_dir_all(&directory).map_err(Error::file("create directory", &directory))?;
        Ok(Up { record: record.clone(), link, directory })
    }

    fn add_bridge(&self, kernel: &Kernel, record: &NetworkRecord, name: &str) -> Result<link::Link> {
        let options = Options::of(record);
        let mtu = match options.mtu {
            Some(mtu) => Some(mtu),
            None => default_mtu(kernel)?,
        };
        let gateway = match gateway(record) {
            Some(IpAddr::V4(address)) => address,
            _ => std::net::Ipv4Addr::UNSPECIFIED,
        };
        let mac = link::mac_of(gateway);
        let context = || format!("make the bridge `{name}` of network `{}`", record.name);
        let index = link::add_bridge(&kernel.route, name, mac, mtu).map_err(Error::link(context()))?;
        let made = self.configure(kernel, record, name, index);
        if let Err(error) = made {
            let _ = link::remove(&kernel.route, index);
            return Err(error);
        }
        Ok(link::Link { index, mtu })
    }

    fn configure(&self, kernel: &Kernel, record: &NetworkRecord, name: &str, index: u32) -> Result<()> {
        let context = || format!("configure the bridge `{name}` of network `{}`", record.name);
        let conf = |family: &str, key: &str| PathBuf::from(format!("/proc/sys/net/{family}/conf/{name}/{key}"));
        set(&conf("ipv4", "route_localnet"), "1")?;
        // Nothing on a bridge may tell the host where to route (CVE-2020-13401), nor does one without IPv6 have any.
        set(&conf("ipv6", "accept_ra"), "0")?;
        if !record.ipv6 {
            set(&conf("ipv6", "disable_ipv6"), "1")?;
        }
        for subnet in &record.subnets {
            if let Some(gateway) = subnet.gateway {
                match link::add_address(&kernel.route, index, gateway, subnet.subnet.prefix_len()) {
                    Err(error) if error.raw_os_error() != Some(Errno::EXIST.raw_os_error()) => {
                        return Err(Error::link(context())(error));
                    }
                    _ => {}
                }
            }
        }
        link::bring_up(&kernel.route, index).map_err(Error::link(context()))?;
        if !record.internal {
            set(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")?;
            if record.ipv6 {
                set(Path::new("/proc/sys/net/ipv6/conf/all/forwarding"), "1")?;
            }
        }
        Ok(())
    }

    fn write_rules(&self, kernel: &Kernel) -> Result<()> {
        let mut bridges = Vec::new();
        let entries = fs_err::read_dir(&self.directory).map_err(Error::file("list", &self.directory))?;
        for entry in entries.flatten() {
            // Beside the networks' directories there is the lock.
            if let Some(id) = entry.file_name().to_str().filter(|_| entry.path().is_dir())
                && let Some(record) = self.running(id)?
            {
                bridges.push(Bridge { interface: self.interface(&record), record });
            }
        }
        rules::apply(&kernel.filter, &self.table, &bridges, self.owner)
    }
}

/// What leaves this machine by its default route fits into packets of this size.
fn default_mtu(kernel: &Kernel) -> Result<Option<u32>> {
    let routes = link::routes(&kernel.route).map_err(Error::link("list the routes of this machine"))?;
    let Some(index) = routes.default else { return Ok(None) };
    let link = link::by_index(&kernel.route, index).map_err(Error::link("look up the default route's interface"))?;
    Ok(link.and_then(|link| link.mtu).filter(|mtu| (1280..1500).contains(mtu)))
}

/// Writes a kernel setting of the network namespace this thread is in. A kernel without IPv6 has none of its settings.
pub fn set(path: &Path, value: &str) -> Result<()> {
    match fs_err::read_to_string(path) {
        Ok(current) if current.trim_end() == value => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(Error::file("write", path))
}

/// The address at which containers of a network reach the host.
pub fn gateway(record: &NetworkRecord) -> Option<IpAddr> {
    record.ipv4().and_then(|subnet| subnet.gateway)
}

fn rules_refused(source: std::io::Error) -> Error {
    Error::Rules { operation: "look up the packet rules".into(), source }
}
