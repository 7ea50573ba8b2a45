//! What a container asks of networks, and how `--network`, `-p` and `--expose` are written: values and pure functions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result};

/// Which network a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A namespace of its own with nothing but loopback.
    #[default]
    None,
    /// The host's.
    Host,
    /// A namespace of its own, connected to the networks that the request names.
    Networks,
    /// The namespace of another container, by its name or ID.
    Container(String),
}

/// The name of the network that containers get when nobody says otherwise.
pub const DEFAULT_NETWORK: &str = "bridge";

/// A container's place in a network, as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    /// The network's name.
    pub network: String,
    /// Further names of the container in this network.
    pub aliases: Vec<String>,
    /// Its IPv4 address; the next free one when `None`.
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address; one with the same host number as the IPv4 address when `None`.
    pub ip6: Option<Ipv6Addr>,
    /// Its link address, six octets in hexadecimal between colons.
    pub mac: Option<String>,
    /// The name of the interface inside; the next free one when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The default route leads through the network with the highest.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_priority: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl EndpointSpec {
    /// A place in a network with nothing asked for.
    pub fn named(network: impl Into<String>) -> Self {
        Self { network: network.into(), ..Self::default() }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(invalid(format!("invalid protocol: `{text}`"))),
        }
    }
}

/// A port of a container, such as `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

impl std::fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.word())
    }
}

/// A port that is published on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// The host's address; all of them when `None`.
    pub address: Option<IpAddr>,
    /// The host's port: the first free one of this range, or any free one when `None`.
    pub host: Option<(u16, u16)>,
    /// The container's.
    pub container: ContainerPort,
}

/// What `--network` says: a mode, and in the mode of networks one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkChoice {
    /// `none`, `host` or `container:NAME`.
    Mode(NetworkMode),
    /// A network.
    Endpoint(EndpointSpec),
}

/// `--network none|host|container:NAME|NETWORK[:KEY=VALUE,…]`, or Docker's `name=NETWORK,KEY=VALUE,…`. The keys are Docker's
/// `alias`, `ip`, `ip6`, `mac-address`, `gw-priority` and of `driver-opt` the name of the interface, and Podman's `mac` and
/// `interface_name`.
pub fn parse_network(text: &str) -> Result<NetworkChoice> {
    let mode = match text {
        "none" => Some(NetworkMode::None),
        "host" => Some(NetworkMode::Host),
        "default" => return Ok(NetworkChoice::Endpoint(EndpointSpec::named(DEFAULT_NETWORK))),
        _ => text.strip_prefix("container:").map(|name| NetworkMode::Container(name.to_owned())),
    };
    match mode {
        Some(NetworkMode::Container(name)) if name.is_empty() => {
            return Err(invalid("`container:` names no container"));
        }
        Some(mode) => return Ok(NetworkChoice::Mode(mode)),
        None => {}
    }
    let (name, options) = match text.split_once(':') {
        Some((name, options)) => (Some(name), options),
        None if text.contains('=') => (None, text),
        None => (Some(text), ""),
    };
    let mut endpoint = EndpointSpec::named(name.unwrap_or_default());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let wrong = || invalid(format!("invalid option `{option}` in `--network {text}`"));
        let (key, value) = option.split_once('=').ok_or_else(wrong)?;
        match key {
            "name" if name.is_none() => value.clone_into(&mut endpoint.network),
            "alias" => endpoint.aliases.push(value.to_owned()),
            "ip" => endpoint.ip = Some(value.parse().map_err(|_| invalid(format!("invalid IPv4 address: `{value}`")))?),
            "ip6" => {
                endpoint.ip6 = Some(value.parse().map_err(|_| invalid(format!("invalid IPv6 address: `{value}`")))?);
            }
            "mac" | "mac-address" => endpoint.mac = Some(parse_mac(value)?),
            "interface_name" => endpoint.interface = Some(interface(value)?),
            "gw-priority" => {
                let wrong = |_| invalid(format!("invalid gw-priority: `{value}`"));
                endpoint.gateway_priority = value.parse().map_err(wrong)?;
            }
            "driver-opt" => match value.strip_prefix("com.docker.network.endpoint.ifname=") {
                Some(name) => endpoint.interface = Some(interface(name)?),
                None => {
                    return Err(Error::refused(
                        Kind::Unsupported,
                        format!(
                            "`driver-opt={value}` means nothing here: the one option of a place in a network is \
                                 `com.docker.network.endpoint.ifname=NAME`"
                        ),
                    ));
                }
            },
            "link-local-ip" => {
                return Err(Error::refused(
                    Kind::Unsupported,
                    "there are no link-local addresses in networks here: give the container one of its network with `ip=`",
                ));
            }
            _ => return Err(wrong()),
        }
    }
    if endpoint.network.is_empty() {
        return Err(invalid(format!("`--network {text}` names no network")));
    }
    Ok(NetworkChoice::Endpoint(endpoint))
}

/// The name of an interface, as the kernel takes it.
fn interface(name: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if name.is_empty() || name.len() > 15 || !name.chars().all(fits) || [".", "..", "lo"].contains(&name) {
        return Err(invalid(format!("invalid name of an interface: `{}`", name.escape_debug())));
    }
    Ok(name.to_owned())
}

/// A link address of one interface, in lower case.
pub fn parse_mac(text: &str) -> Result<String> {
    let wrong = || invalid(format!("invalid MAC address: `{text}`"));
    let octets: Vec<u8> = text
        .split([':', '-'])
        .map(|part| if part.len() == 2 { u8::from_str_radix(part, 16).map_err(|_| wrong()) } else { Err(wrong()) })
        .collect::<Result<_>>()?;
    // A set lowest bit is the mark of a group.
    if octets.len() != 6 || octets[0] & 1 == 1 {
        return Err(wrong());
    }
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":"))
}

/// `-p [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`, where each port may be a range. Ranges of the same length are matched port by
/// port; a range on the host for one port of the container means any free one of it.
pub fn parse_publish(text: &str) -> Result<Vec<PortSpec>> {
    let wrong = |what: &str, value: &str| invalid(format!("invalid {what} in `{text}`: `{value}`"));
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = Protocol::parse(protocol)?;
    let (address, ports) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, ports) = rest.split_once("]:").ok_or_else(|| wrong("address", rest))?;
            (Some(address), ports)
        }
        None => match rest.rsplit_once(':').and_then(|(before, _)| before.rsplit_once(':')) {
            Some((address, _)) => (Some(address), &rest[address.len() + 1..]),
            None => (None, rest),
        },
    };
    let address = match address {
        None | Some("") => None,
        Some(address) => Some(address.parse::<IpAddr>().map_err(|_| wrong("address", address))?),
    };
    let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    if container.is_empty() {
        return Err(invalid(format!("no port specified: `{text}`")));
    }
    let (first, last) = range(container).ok_or_else(|| wrong("container port", container))?;
    let host = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| wrong("host port", host))?),
    };
    let count = last - first;
    let matched = host.is_some_and(|(from, to)| to - from == count);
    if host.is_some() && !matched && count > 0 {
        return Err(invalid(format!("invalid ranges specified for container and host ports: `{text}`")));
    }
    let one = |offset: u16| PortSpec {
        address,
        host: host.map(|(from, to)| if matched { (from + offset, from + offset) } else { (from, to) }),
        container: ContainerPort { protocol, port: first + offset },
    };
    Ok((0..=count).map(one).collect())
}

/// `--expose PORT[-PORT][/PROTOCOL]`, and the keys of an image's `ExposedPorts`.
pub fn parse_expose(text: &str) -> Result<Vec<ContainerPort>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = Protocol::parse(protocol)?;
    let (first, last) = range(ports).ok_or_else(|| invalid(format!("invalid port: `{text}`")))?;
    Ok((first..=last).map(|port| ContainerPort { protocol, port }).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::refused(Kind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_in_both_spellings() {
        let endpoint = |network: &str| EndpointSpec::named(network);
        for (text, wanted) in [
            ("none", NetworkChoice::Mode(NetworkMode::None)),
            ("host", NetworkChoice::Mode(NetworkMode::Host)),
            ("container:web", NetworkChoice::Mode(NetworkMode::Container("web".into()))),
            ("default", NetworkChoice::Endpoint(endpoint("bridge"))),
            ("front", NetworkChoice::Endpoint(endpoint("front"))),
            (
                "front:alias=a,alias=b,ip=10.0.0.9,ip6=fd00::9,mac=02-00-00-00-00-0A",
                NetworkChoice::Endpoint(EndpointSpec {
                    aliases: vec!["a".into(), "b".into()],
                    ip: "10.0.0.9".parse().ok(),
                    ip6: "fd00::9".parse().ok(),
                    mac: Some("02:00:00:00:00:0a".into()),
                    ..endpoint("front")
                }),
            ),
            (
                "name=front,alias=a",
                NetworkChoice::Endpoint(EndpointSpec { aliases: vec!["a".into()], ..endpoint("front") }),
            ),
            (
                "name=front,gw-priority=-5,driver-opt=com.docker.network.endpoint.ifname=net0",
                NetworkChoice::Endpoint(EndpointSpec {
                    interface: Some("net0".into()),
                    gateway_priority: -5,
                    ..endpoint("front")
                }),
            ),
        ] {
            assert_eq!(parse_network(text).unwrap(), wanted, "{text}");
        }
        for text in [
            "",
            "container:",
            "front:what=1",
            "front:ip=x",
            "alias=a",
            "front:mac=01:00:00:00:00:00",
            ":ip=1.2.3.4",
            "name=front,gw-priority=x",
            "front:interface_name=a/b",
        ] {
            assert_eq!(parse_network(text).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
        for text in ["name=front,link-local-ip=169.254.1.1", "name=front,driver-opt=a=b"] {
            assert_eq!(parse_network(text).unwrap_err().kind(), Kind::Unsupported, "{text}");
        }
    }

    #[test]
    fn published_ports_in_every_form() {
        let shown = |text: &str| -> Vec<String> {
            let show = |port: PortSpec| {
                let address = port.address.map_or("*".to_owned(), |address| address.to_string());
                let host = port.host.map_or("any".to_owned(), |(from, to)| format!("{from}-{to}"));
                format!("{address} {host} {}", port.container)
            };
            parse_publish(text).unwrap_or_else(|error| panic!("{text}: {error}")).into_iter().map(show).collect()
        };
        for (text, wanted) in [
            ("80", &["* any 80/tcp"][..]),
            ("8080:80", &["* 8080-8080 80/tcp"]),
            ("127.0.0.1:8080:80", &["127.0.0.1 8080-8080 80/tcp"]),
            ("127.0.0.1::80", &["127.0.0.1 any 80/tcp"]),
            ("53:53/udp", &["* 53-53 53/udp"]),
            ("[::1]:80:80", &["::1 80-80 80/tcp"]),
            ("[::]:80:80/TCP", &[":: 80-80 80/tcp"]),
            ("::1:80:80", &["::1 80-80 80/tcp"]),
            ("8000-8002:80", &["* 8000-8002 80/tcp"]),
            ("8000-8001:80-81", &["* 8000-8000 80/tcp", "* 8001-8001 81/tcp"]),
            ("80-81", &["* any 80/tcp", "* any 81/tcp"]),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
        for text in [
            "",
            "80:",
            "0:80",
            "80:0",
            "x:80",
            "80/icmp",
            "1.2.3:80:80",
            "8000-8002:80-81",
            "81-80",
            "70000",
            "[::1:80:80",
        ] {
            assert_eq!(parse_publish(text).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn exposed_ports() {
        let ports = parse_expose("80-81/udp").unwrap();
        assert_eq!(ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["80/udp", "81/udp"]);
        assert!(parse_expose("80:80").is_err());
    }
}
