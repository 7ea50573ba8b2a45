//! The packet rules of all networks that are up: one table, made anew as a whole whenever a network comes or goes.
//!
//! Nothing in it speaks of containers, so starting one changes no rule of it. A table that somebody flushed or deleted comes
//! back with the next container.

use std::net::IpAddr;
use std::os::fd::AsFd;

use ipnet::IpNet;
use mica_engine::network::NetworkRecord;

use crate::error::{Error, Result};
use crate::nft::expression::{
    Is, Side, Verdict, address_in, came_through, is_answer, is_published, is_stray, leaves_through, masquerade, verdict,
};
use crate::nft::{Attributes, Batch, Chain, Family, Hook, Lifetime};
use crate::options::Options;

/// Priorities as `nft` names them: `raw`, `mangle`, `filter`, `srcnat`.
const RAW: i32 = -300;
const MANGLE: i32 = -150;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// Whose the network namespace is that the bridges are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The machine's, or somebody else's.
    Others,
    /// Ours: there is nothing in it but the bridges and the way out.
    Us,
}

/// A bridge network that is up.
#[derive(Debug)]
pub struct Bridge {
    /// Its interface.
    pub interface: String,
    /// What it is.
    pub record: NetworkRecord,
}

/// Makes the table say what holds for these bridges.
pub fn apply(socket: impl AsFd, table: &str, bridges: &[Bridge], owner: Owner) -> Result<()> {
    let mut batch = Batch::new();
    // A table that is made and deleted in the same batch is deleted whether or not it was there before.
    batch.table(Family::Inet, table, Lifetime::Persistent);
    batch.delete_table(Family::Inet, table);
    if !bridges.is_empty() {
        batch.table(Family::Inet, table, Lifetime::Persistent);
        guard(&mut batch, table, bridges);
        if owner == Owner::Us {
            drop_strays(&mut batch, table);
        }
        forward(&mut batch, table, bridges);
        translate(&mut batch, table, bridges);
    }
    batch
        .commit(socket)
        .map_err(|source| Error::Rules { operation: format!("write the packet rules `inet {table}`"), source })
}

/// A packet that no connection knows is not translated back, so it is taken for one to this namespace itself, which answers
/// with a reset that ends the connection it was meant for. Old versions of `pasta` send such packets, segments without a
/// flag. On a machine's own network it is not for us to say what is dropped.
fn drop_strays(batch: &mut Batch, table: &str) {
    batch.chain(
        Family::Inet,
        table,
        Chain { name: "strays", kind: "filter", hook: Hook::Prerouting, priority: MANGLE },
    );
    add(batch, table, "strays", [is_stray(), drop_it()]);
}

/// Bridges route packets of the host's loopback, so that ports published there are reached. Nobody behind a bridge may use
/// that to reach what else listens on it (CVE-2020-8558).
fn guard(batch: &mut Batch, table: &str, bridges: &[Bridge]) {
    batch.chain(Family::Inet, table, Chain { name: "guard", kind: "filter", hook: Hook::Prerouting, priority: RAW });
    let loopback = loopback();
    for bridge in bridges {
        let rule = [came_through(&bridge.interface, Is::Equal), address_in(Side::Destination, loopback), drop_it()];
        add(batch, table, "guard", rule);
    }
}

/// Networks see answers, published ports, themselves and the outside, and nothing sees into them.
fn forward(batch: &mut Batch, table: &str, bridges: &[Bridge]) {
    batch.chain(Family::Inet, table, Chain { name: "forward", kind: "filter", hook: Hook::Forward, priority: FILTER });
    for bridge in bridges.iter().filter(|bridge| bridge.record.internal) {
        let name = &bridge.interface;
        add(batch, table, "forward", [came_through(name, Is::Equal), leaves_through(name, Is::Not), drop_it()]);
        add(batch, table, "forward", [leaves_through(name, Is::Equal), came_through(name, Is::Not), drop_it()]);
    }
    add(batch, table, "forward", [is_answer(), accept()]);
    add(batch, table, "forward", [is_published(), accept()]);
    for bridge in bridges {
        let name = &bridge.interface;
        let within = if Options::of(&bridge.record).talk_within { accept() } else { drop_it() };
        add(batch, table, "forward", [came_through(name, Is::Equal), leaves_through(name, Is::Equal), within]);
    }
    for bridge in bridges {
        add(batch, table, "forward", [leaves_through(&bridge.interface, Is::Equal), drop_it()]);
    }
}

fn translate(batch: &mut Batch, table: &str, bridges: &[Bridge]) {
    let chain = Chain { name: "postrouting", kind: "nat", hook: Hook::Postrouting, priority: SOURCE_NAT };
    batch.chain(Family::Inet, table, chain);
    for bridge in bridges {
        let name = &bridge.interface;
        // Answers to the host's loopback address would never find back.
        add(
            batch,
            table,
            "postrouting",
            [address_in(Side::Source, loopback()), leaves_through(name, Is::Equal), masquerade()],
        );
        for subnet in bridge.record.subnets.iter().map(|subnet| subnet.subnet) {
            // A container that meets a neighbour, or itself, through a published port: the answer must come back this way.
            let hairpin =
                [is_published(), address_in(Side::Source, subnet), leaves_through(name, Is::Equal), masquerade()];
            add(batch, table, "postrouting", hairpin);
            if !bridge.record.internal && Options::of(&bridge.record).masquerade {
                let outward = [address_in(Side::Source, subnet), leaves_through(name, Is::Not), masquerade()];
                let within = bridges.iter().map(|other| {
                    [address_in(Side::Source, subnet), leaves_through(&other.interface, Is::Equal), accept()]
                });
                within.for_each(|rule| add(batch, table, "postrouting", rule));
                add(batch, table, "postrouting", outward);
            }
        }
    }
}

fn add(batch: &mut Batch, table: &str, chain: &str, parts: impl IntoIterator<Item = Vec<Attributes>>) {
    let expressions: Vec<Attributes> = parts.into_iter().flatten().collect();
    batch.rule(Family::Inet, table, chain, &expressions);
}

fn loopback() -> IpNet {
    IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8)
}

fn accept() -> Vec<Attributes> {
    verdict(Verdict::Accept)
}

fn drop_it() -> Vec<Attributes> {
    verdict(Verdict::Drop)
}
