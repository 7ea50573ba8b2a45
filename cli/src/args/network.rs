//! `network …` and `port`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::{Args, Subcommand};

use super::values;

/// `network …`.
#[derive(Debug, Args)]
pub struct Network {
    /// The command.
    #[command(subcommand)]
    pub command: NetworkCommand,
}

/// Commands on networks.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Connect a container to a network
    Connect(Connect),
    /// Create a network
    Create(Create),
    /// Disconnect a container from a network
    Disconnect(Disconnect),
    /// Show everything about networks
    Inspect(Inspect),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove networks that no container names
    Prune(Prune),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// Connect a container to a network.
#[derive(Debug, Args)]
pub struct Connect {
    /// Further name of the container in the network (may be repeated)
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<Ipv6Addr>,
    /// Link address of the interface
    #[arg(long, value_name = "ADDRESS", value_parser = values::mac)]
    pub mac_address: Option<String>,
    /// The network
    pub network: String,
    /// The container
    pub container: String,
}

/// Create a network.
#[derive(Debug, Args)]
pub struct Create {
    /// How it works: bridge or macvlan
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    pub driver: String,
    /// Subnet (may be repeated)
    #[arg(long = "subnet", value_name = "SUBNET", value_parser = values::subnet)]
    pub subnets: Vec<ipnet::IpNet>,
    /// Gateway of a subnet (may be repeated)
    #[arg(long = "gateway", value_name = "ADDRESS")]
    pub gateways: Vec<IpAddr>,
    /// Part of a subnet that addresses are taken from (may be repeated)
    #[arg(long = "ip-range", value_name = "SUBNET", value_parser = values::subnet)]
    pub ranges: Vec<ipnet::IpNet>,
    /// Address that something else has, which no container gets (may be repeated)
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS", value_parser = values::named_address)]
    pub others: Vec<(String, IpAddr)>,
    /// Give containers IPv4 addresses, as every network does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = values::ipv4)]
    pub ipv4: Option<bool>,
    /// Give containers IPv6 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub ipv6: Option<bool>,
    /// Let nothing lead out of it
    #[arg(long)]
    pub internal: bool,
    /// Accepted and shown, as Docker does outside of swarms
    #[arg(long)]
    pub attachable: bool,
    /// Give containers no names in it
    #[arg(long)]
    pub disable_dns: bool,
    /// Name server for other names (may be repeated)
    #[arg(long = "dns", value_name = "ADDRESS")]
    pub name_servers: Vec<IpAddr>,
    /// Name of its bridge, or of the interface that a macvlan stands on
    #[arg(long, value_name = "NAME")]
    pub interface_name: Option<String>,
    /// Where it is: local
    #[arg(long, value_name = "SCOPE", value_parser = values::scope)]
    pub scope: Option<String>,
    /// Who gives addresses: default
    #[arg(long, value_name = "DRIVER", value_parser = values::ipam_driver)]
    pub ipam_driver: Option<String>,
    /// Set a label (may be repeated)
    #[arg(long = "label", value_name = "NAME[=VALUE]")]
    pub labels: Vec<String>,
    /// Option of the driver (may be repeated)
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
    /// Its name
    pub name: String,
}

/// Disconnect a container from a network.
#[derive(Debug, Args)]
pub struct Disconnect {
    /// Do not mind a container that is gone
    #[arg(short, long)]
    pub force: bool,
    /// The network
    pub network: String,
    /// The container
    pub container: String,
}

/// Show everything about networks.
#[derive(Debug, Args)]
pub struct Inspect {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Accepted for scripts
    #[arg(short, long, hide = true)]
    pub verbose: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub names: Vec<String>,
}

/// List networks.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only what matches: dangling, driver, id, label, name, scope, type (may be repeated)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// table, `table TEMPLATE`, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Do not shorten IDs
    #[arg(long)]
    pub no_trunc: bool,
    /// Print IDs alone
    #[arg(short, long)]
    pub quiet: bool,
}

/// Remove networks that no container names.
#[derive(Debug, Args)]
pub struct Prune {
    /// What every prune takes.
    #[command(flatten)]
    pub prune: super::prune::PruneArgs,
}

/// Remove networks.
#[derive(Debug, Args)]
pub struct Rm {
    /// Do not mind a network that is gone
    #[arg(short, long)]
    pub force: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub names: Vec<String>,
}

/// Show the published ports of a container.
#[derive(Debug, Args)]
pub struct Port {
    /// The container
    pub container: String,
    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
}
