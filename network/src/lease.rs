//! Who has which address of a network: one file an address, `<run>/networks/<id>/members/<IPv4 address>`.
//!
//! A file counts while whoever wrote it holds it, which is until the container's monitor runs, and from then on while that
//! monitor lives. So an address is never lost to somebody who died, and nobody has to clean up for it to be free.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use mica_engine::Kind;
use mica_engine::network::{Member, Subnet};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// An address while its container is being started.
#[derive(Debug)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    path: PathBuf,
    // Held until the container's monitor holds its own lock.
    held: Option<File>,
}

impl Lease {
    /// Writes down whose it is.
    pub fn fill(&self, member: &Member) -> Result<()> {
        let text = serde_json::to_vec(member).map_err(|source| Error::Record { path: self.path.clone(), source })?;
        fs_err::write(&self.path, text).map_err(Error::file("write", &self.path))
    }

    /// Where it is written down.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the address to the container; what is returned must stay open until its monitor runs.
    pub fn hand_over(mut self) -> Option<OwnedFd> {
        self.held.take().map(OwnedFd::from)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.held.is_some() {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Takes an address of a network: this one, or the lowest that is free.
pub fn take(directory: &Path, subnet: &Subnet, wanted: Option<Ipv4Addr>) -> Result<Lease> {
    let members = directory.join("members");
    fs_err::create_dir_all(&members).map_err(Error::file("create directory", &members))?;
    let _queue = lock(&directory.join("lock"))?;
    let Some(whole) = ipv4(subnet.subnet) else {
        return Err(Error::refused(Kind::Internal, "a network without an IPv4 subnet"));
    };
    let gateway = subnet.gateway;
    let usable = |address: Ipv4Addr| {
        let edge = whole.prefix_len() < 31 && (address == whole.network() || address == whole.broadcast());
        let others = subnet.others.values().any(|other| *other == IpAddr::V4(address));
        whole.contains(&address) && !edge && !others && gateway != Some(address.into())
    };
    if let Some(address) = wanted {
        if !usable(address) {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!("address `{address}` is not one of the free addresses of subnet `{whole}`"),
            ));
        }
        return try_take(&members, address)?
            .ok_or_else(|| Error::refused(Kind::Conflict, format!("Address already in use: `{address}`")));
    }
    let range = subnet.range.and_then(ipv4).unwrap_or(whole);
    let known: std::collections::HashSet<String> = names(&members)?.into_iter().collect();
    // First those that nobody ever had, which costs no look at a file; then those whose owners may have gone.
    let addresses = || {
        let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
        (first..=last).map(Ipv4Addr::from).filter(|address| usable(*address))
    };
    let fresh = addresses().find(|address| !known.contains(&address.to_string()));
    for address in fresh.into_iter().chain(addresses()) {
        if let Some(lease) = try_take(&members, address)? {
            return Ok(lease);
        }
    }
    Err(Error::refused(Kind::Unavailable, format!("no free address is left in `{range}`")))
}

/// Writes down other names of a container that lives. Whoever reads meanwhile finds those before or those after.
pub fn replace(directory: &Path, member: &Member) -> Result<()> {
    let Some((address, _)) = member.endpoint.ipv4 else { return Ok(()) };
    let path = directory.join("members").join(address.to_string());
    // Not among the members, where it would be one.
    let new = directory.join(format!("{address}.new"));
    let text = serde_json::to_vec(member).map_err(|source| Error::Record { path: path.clone(), source })?;
    fs_err::write(&new, text).map_err(Error::file("write", &new))?;
    fs_err::rename(&new, &path).map_err(Error::file("write", &path))
}

/// Forgets an address whose container does not run.
pub fn release(directory: &Path, address: Ipv4Addr) {
    let path = directory.join("members").join(address.to_string());
    if let Err(error) = fs_err::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "left to whoever takes the address next");
    }
}

/// The containers of a network that live.
pub fn members(directory: &Path) -> Result<Vec<Member>> {
    let folder = directory.join("members");
    let mut found = Vec::new();
    for name in names(&folder)? {
        let path = folder.join(name);
        if let Some(member) = read(&path)
            && (is_held(&path) || monitored(&member.container.run_dir))
        {
            found.push(member);
        }
    }
    found.sort_by_key(|member| member.endpoint.ipv4);
    Ok(found)
}

/// What is written down of an address.
pub fn read(path: &Path) -> Option<Member> {
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}

/// True while the container in this directory has a monitor.
pub fn monitored(run_dir: &Path) -> bool {
    is_held(&run_dir.join("lock"))
}

/// Waits for an exclusive lock on a file, which is made when it is missing.
pub fn lock(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| Error::file("open", path)(errno.into()))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
        .map_err(|errno| Error::file("lock", path)(errno.into()))?;
    Ok(file)
}

fn try_take(members: &Path, address: Ipv4Addr) -> Result<Option<Lease>> {
    let path = members.join(address.to_string());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| Error::file("open", &path)(errno.into()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(Error::file("lock", &path)(errno.into())),
    }
    // Whoever had it has let go: the container lives on with its monitor, or it is gone.
    if read(&path).is_some_and(|member| monitored(&member.container.run_dir)) {
        return Ok(None);
    }
    Ok(Some(Lease { address, path, held: Some(File::from(file)) }))
}

fn is_held(path: &Path) -> bool {
    let Ok(file) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return false };
    matches!(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("list", folder)(error)),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn ipv4(net: ipnet::IpNet) -> Option<Ipv4Net> {
    match net {
        ipnet::IpNet::V4(net) => Some(net),
        ipnet::IpNet::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet() -> Subnet {
        Subnet {
            subnet: "10.9.0.0/29".parse().unwrap(),
            gateway: Some("10.9.0.1".parse().unwrap()),
            range: None,
            others: Default::default(),
        }
    }

    #[test]
    fn addresses_are_given_once_and_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let take =
            |wanted: Option<&str>| super::take(directory.path(), &subnet(), wanted.map(|text| text.parse().unwrap()));
        let first = take(None).unwrap();
        let fourth = take(Some("10.9.0.4")).unwrap();
        assert_eq!((first.address.to_string(), fourth.address.to_string()), ("10.9.0.2".into(), "10.9.0.4".into()));
        assert_eq!(take(Some("10.9.0.4")).unwrap_err().to_string(), "Address already in use: `10.9.0.4`");
        for outside in ["10.9.0.1", "10.9.0.0", "10.9.0.7", "10.9.1.2"] {
            assert!(take(Some(outside)).is_err(), "{outside}");
        }
        let rest: Vec<Lease> = std::iter::from_fn(|| take(None).ok()).collect();
        assert_eq!(
            rest.iter().map(|lease| lease.address.to_string()).collect::<Vec<_>>(),
            ["10.9.0.3", "10.9.0.5", "10.9.0.6"]
        );
        drop(first);
        assert_eq!(take(None).unwrap().address.to_string(), "10.9.0.2");
    }

    #[test]
    fn addresses_of_others_are_given_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let others = [("router".to_owned(), "10.9.0.2".parse().unwrap())].into();
        let subnet = Subnet { others, ..subnet() };
        assert_eq!(super::take(directory.path(), &subnet, None).unwrap().address.to_string(), "10.9.0.3");
        assert!(super::take(directory.path(), &subnet, Some("10.9.0.2".parse().unwrap())).is_err());
    }

    #[test]
    fn an_address_of_somebody_who_died_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let lease = super::take(directory.path(), &subnet(), None).unwrap();
        let party =
            mica_engine::network::Party { id: "ab".into(), name: "web".into(), run_dir: directory.path().join("run") };
        lease.fill(&sample(party, lease.address)).unwrap();
        let held = lease.hand_over();
        assert_eq!(members(directory.path()).unwrap().len(), 1);
        drop(held);
        assert!(members(directory.path()).unwrap().is_empty());
        assert_eq!(
            super::take(directory.path(), &subnet(), Some("10.9.0.2".parse().unwrap())).unwrap().address.octets()[3],
            2
        );
    }

    fn sample(container: mica_engine::network::Party, address: Ipv4Addr) -> Member {
        let endpoint = mica_engine::network::Endpoint {
            network_id: String::new(),
            network: "n".into(),
            driver: Default::default(),
            id: String::new(),
            interface: "eth0".into(),
            mac: String::new(),
            ipv4: Some((address, 29)),
            gateway: None,
            ipv6: None,
            gateway6: None,
            names: vec![],
        };
        Member { container, endpoint }
    }
}
