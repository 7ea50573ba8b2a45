//! `network create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::list::PREDEFINED;
use crate::events::Actor;
use crate::network::{NetworkDriver, NetworkRecord, Subnet};
use crate::store::{Flush, networks};
use crate::{Engine, Error, Kind, Result};

/// What to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// `bridge` or `macvlan`.
    pub driver: String,
    /// Subnets; free ones are chosen where there are none.
    pub subnets: Vec<IpNet>,
    /// Gateways, each of one of the subnets.
    pub gateways: Vec<IpAddr>,
    /// Parts of the subnets that addresses are taken from.
    pub ranges: Vec<IpNet>,
    /// Addresses of others, each of one of the subnets.
    pub others: BTreeMap<String, IpAddr>,
    /// Give containers IPv6 addresses.
    pub ipv6: bool,
    /// Let nothing lead out of it.
    pub internal: bool,
    /// Docker's flag for swarms.
    pub attachable: bool,
    /// Give containers no names in it.
    pub nameless: bool,
    /// Who is asked for other names.
    pub name_servers: Vec<IpAddr>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

impl Engine {
    /// Creates a network. Nothing of it is made on the machine until a container needs it.
    pub async fn create_network(&self, request: NetworkRequest) -> Result<NetworkRecord> {
        check_name(&request.name)?;
        let record = record(request)?;
        let others = self.blocking(|engine| engine.all_networks()).await?;
        if others.iter().any(|other| other.name == record.name) {
            return Err(Error::refused(
                Kind::AlreadyExists,
                format!("network with name {} already exists", record.name),
            ));
        }
        let record = self.options().network.design(record, others).await?;
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| {
                // Another command may have taken the subnet while this one looked for a free one.
                let taken = networks::all(db)?;
                let overlaps = |one: IpNet, other: IpNet| one.contains(&other) || other.contains(&one);
                let mine = || record.subnets.iter().map(|subnet| subnet.subnet);
                let meets = |subnet: &Subnet| mine().any(|own| overlaps(own, subnet.subnet));
                if record.driver == NetworkDriver::Bridge && taken.iter().flat_map(|other| &other.subnets).any(meets) {
                    return Err(Error::refused(
                        Kind::Conflict,
                        "Pool overlaps with other one on this address space, which was created at this moment",
                    ));
                }
                networks::insert(db, &record)
            })?;
            engine.tell("network", "create", Actor::network(&record));
            Ok(record)
        })
        .await
    }
}

fn record(request: NetworkRequest) -> Result<NetworkRecord> {
    let NetworkRequest {
        name,
        driver,
        subnets,
        gateways,
        ranges,
        others,
        ipv6,
        internal,
        attachable,
        nameless,
        name_servers,
        labels,
        options,
    } = request;
    let driver = match driver.as_str() {
        "" | "bridge" => NetworkDriver::Bridge,
        "macvlan" => NetworkDriver::Macvlan,
        other => {
            return Err(Error::refused(Kind::NotFound, format!("could not find a network driver `{other}`"))
                .with_hint("the drivers are `bridge` and `macvlan`"));
        }
    };
    let mut places: Vec<Subnet> = subnets
        .iter()
        .map(|subnet| Subnet { subnet: *subnet, gateway: None, range: None, others: BTreeMap::new() })
        .collect();
    for gateway in gateways {
        place_of(&mut places, gateway.into(), &format!("gateway {gateway}"))?.gateway = Some(gateway);
    }
    for range in ranges {
        place_of(&mut places, range, &format!("range {range}"))?.range = Some(range);
    }
    for (called, address) in others {
        place_of(&mut places, address.into(), &format!("aux-address {address}"))?.others.insert(called, address);
    }
    Ok(NetworkRecord {
        id: crate::bundle::random_id(),
        name,
        created: Timestamp::now().to_string(),
        driver,
        subnets: places,
        ipv6,
        internal,
        attachable,
        nameless,
        name_servers,
        labels,
        options,
    })
}

/// The subnet that something was said of: the first that holds it.
fn place_of<'a>(places: &'a mut [Subnet], within: IpNet, what: &str) -> Result<&'a mut Subnet> {
    let found = places.iter_mut().find(|place| place.subnet.contains(&within));
    found.ok_or_else(|| Error::refused(Kind::InvalidInput, format!("no matching subnet for {what}")))
}

fn check_name(name: &str) -> Result<()> {
    if PREDEFINED.contains(&name) || name == "default" {
        let message = format!("operation is not permitted on predefined {name} network");
        return Err(Error::refused(Kind::Denied, message));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.len() > 255 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fits) {
        let message = format!("invalid network name: `{}`", name.escape_debug());
        return Err(Error::refused(Kind::InvalidInput, message)
            .with_hint("letters, digits, `_`, `.` and `-`, of which the first is a letter or a digit"));
    }
    Ok(())
}
