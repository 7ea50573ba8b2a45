//! The flags of `run` and `create` about networks and published ports.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Args;
use mica_engine::container::NetworkChoice;

use super::values;

/// Networks and published ports.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// none, host, container:NAME, or a network with options (may be repeated)
    #[arg(long = "network", alias = "net", value_name = "NETWORK[:KEY=VALUE,…]", value_parser = values::network)]
    pub networks: Vec<NetworkChoice>,
    /// Further name of the container in its network (may be repeated)
    #[arg(long = "network-alias", alias = "net-alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// IPv4 address in the network
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address in the network
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<Ipv6Addr>,
    /// Link address of the interface
    #[arg(long, value_name = "ADDRESS", value_parser = values::mac)]
    pub mac_address: Option<String>,
    /// Publish a port on the host (may be repeated)
    #[arg(short = 'p', long, value_name = "[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]")]
    pub publish: Vec<String>,
    /// Publish every exposed port at a free one of the host
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Say that the container listens on a port (may be repeated)
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<String>,
}
