//! Which subnets a new network gets: checked where somebody asked for them, chosen from pools where nobody did.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mica_engine::Kind;
use mica_engine::network::{NetworkRecord, Subnet};

use crate::error::{Error, Result};

/// Addresses that subnets of one size are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// All of them.
    pub base: Ipv4Net,
    /// The length of a subnet's prefix, in bits.
    pub size: u8,
}

/// Docker's pools.
pub fn usual() -> Vec<Pool> {
    let pool = |a, b, length, size| Pool { base: Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length), size };
    let mut pools: Vec<Pool> = (17..=31).map(|second| pool(172, second, 16, 16)).collect();
    pools.push(pool(192, 168, 16, 20));
    pools
}

/// Completes a network's subnets. `taken` is what other networks and the machine's routes have.
pub fn settle(mut record: NetworkRecord, pools: &[Pool], taken: &[IpNet]) -> Result<NetworkRecord> {
    for subnet in &mut record.subnets {
        subnet.subnet = subnet.subnet.trunc();
        if let Some(other) = taken.iter().find(|other| overlap(subnet.subnet, **other)) {
            return Err(Error::refused(
                Kind::Conflict,
                format!("Pool overlaps with other one on this address space: `{}` and `{other}`", subnet.subnet),
            ));
        }
    }
    if record.ipv4().is_none() {
        let subnet = choose(pools, taken)?;
        record
            .subnets
            .insert(0, Subnet { subnet: subnet.into(), gateway: None, range: None, others: Default::default() });
    }
    if record.ipv6 && record.ipv6().is_none() {
        record.subnets.push(Subnet {
            subnet: unique_local(&record.id).into(),
            gateway: None,
            range: None,
            others: Default::default(),
        });
    }
    if record.subnets.iter().filter(|subnet| subnet.subnet.addr().is_ipv4()).count() > 1
        || record.subnets.iter().filter(|subnet| subnet.subnet.addr().is_ipv6()).count() > 1
    {
        return Err(Error::refused(Kind::Unsupported, "a network has one subnet of IPv4 and one of IPv6"));
    }
    if !record.ipv6 && record.ipv6().is_some() {
        return Err(Error::refused(Kind::InvalidInput, "an IPv6 subnet needs `--ipv6`"));
    }
    for subnet in &mut record.subnets {
        check(subnet)?;
    }
    Ok(record)
}

fn check(subnet: &mut Subnet) -> Result<()> {
    let net = subnet.subnet;
    let wrong = |what: &str, value: String| {
        Error::refused(Kind::InvalidInput, format!("invalid {what} `{value}`: it is not in subnet `{net}`"))
    };
    let length = if net.addr().is_ipv4() { 30 } else { 126 };
    if net.prefix_len() > length {
        return Err(Error::refused(Kind::InvalidInput, format!("subnet `{net}` has no room for containers")));
    }
    if let Some(range) = subnet.range
        && !net.contains(&range.trunc())
    {
        return Err(wrong("range", range.to_string()));
    }
    let gateway = subnet.gateway.unwrap_or_else(|| first_host(net));
    if !net.contains(&gateway) {
        return Err(wrong("gateway", gateway.to_string()));
    }
    subnet.gateway = Some(gateway);
    Ok(())
}

fn choose(pools: &[Pool], taken: &[IpNet]) -> Result<Ipv4Net> {
    let mut candidates = pools.iter().flat_map(|pool| pool.base.subnets(pool.size).into_iter().flatten());
    candidates.find(|net| !taken.iter().any(|other| overlap((*net).into(), *other))).ok_or_else(|| {
        Error::refused(
            Kind::Unavailable,
            "no subnet is free: every pool overlaps with other networks and the routes of this machine; name one with `--subnet`",
        )
    })
}

/// A subnet of unique local addresses (RFC 4193) that follows from the network's identity.
fn unique_local(id: &str) -> Ipv6Net {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    for (octet, digits) in octets[1..8].iter_mut().zip(id.as_bytes().chunks(2)) {
        *octet = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(0);
    }
    Ipv6Net::new_assert(Ipv6Addr::from(octets), 64)
}

fn first_host(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()) + 1).into(),
        IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()) + 1).into(),
    }
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn asked(subnets: &[(&str, Option<&str>, Option<&str>)], ipv6: bool) -> NetworkRecord {
        let subnets = subnets.iter().map(|(subnet, gateway, range)| Subnet {
            subnet: subnet.parse().unwrap(),
            gateway: gateway.map(|text| text.parse().unwrap()),
            range: range.map(|text| text.parse().unwrap()),
            others: std::collections::BTreeMap::new(),
        });
        NetworkRecord { id: "0123456789abcdef".repeat(4), ipv6, subnets: subnets.collect(), ..Default::default() }
    }

    #[test]
    fn subnets_are_chosen_beside_what_is_taken() {
        let chosen = |taken: &[&str]| {
            settle(asked(&[], false), &usual(), &nets(taken)).map(|record| record.subnets[0].subnet.to_string())
        };
        assert_eq!(chosen(&[]).unwrap(), "172.17.0.0/16");
        assert_eq!(chosen(&["172.17.5.0/24", "10.0.0.0/8"]).unwrap(), "172.18.0.0/16");
        assert_eq!(chosen(&["172.16.0.0/12"]).unwrap(), "192.168.0.0/20");
        assert_eq!(chosen(&["0.0.0.0/0"]).unwrap_err().to_string().split(':').next(), Some("no subnet is free"));
        let both = settle(asked(&[], true), &usual(), &[]).unwrap();
        assert_eq!(both.subnets[1].subnet.to_string(), "fd01:2345:6789:abcd::/64");
        assert_eq!(both.subnets[1].gateway.unwrap().to_string(), "fd01:2345:6789:abcd::1");
    }

    #[test]
    fn what_was_asked_for_must_fit() {
        let fine = settle(asked(&[("10.1.2.3/24", None, Some("10.1.2.128/25"))], false), &[], &[]).unwrap();
        assert_eq!(
            (fine.subnets[0].subnet.to_string(), fine.subnets[0].gateway.unwrap().to_string()),
            ("10.1.2.0/24".into(), "10.1.2.1".into())
        );
        for (subnets, ipv6, words) in [
            (&[("10.1.0.0/16", Some("10.2.0.1"), None)][..], false, "invalid gateway `10.2.0.1`"),
            (&[("10.1.0.0/16", None, Some("10.2.0.0/24"))], false, "invalid range"),
            (&[("10.9.1.0/24", None, None)], false, "Pool overlaps"),
            (&[("10.1.0.0/31", None, None)], false, "no room"),
            (&[("fd00::/64", None, None)], false, "needs `--ipv6`"),
            (&[("10.1.0.0/16", None, None), ("10.2.0.0/16", None, None)], false, "one subnet"),
        ] {
            let error = settle(asked(subnets, ipv6), &usual(), &nets(&["10.9.0.0/16"])).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
