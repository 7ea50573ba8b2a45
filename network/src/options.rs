//! The driver options of a network that mean something here, in Docker's spellings and short ones.

use std::net::Ipv4Addr;

use mica_engine::Kind;
use mica_engine::network::NetworkRecord;

use crate::error::{Error, Result};

/// What networks take.
const KNOWN: [&str; 11] = [
    "com.docker.network.driver.mtu",
    "com.docker.network.container_iface_prefix",
    "com.docker.network.bridge.name",
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv6",
    "mtu",
    "parent",
    "macvlan_mode",
];

/// The longest name of an interface, in bytes.
const NAME_MAX: usize = 15;

/// Options of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Name of the bridge.
    pub bridge: Option<String>,
    /// True when containers of the network may talk to each other.
    pub talk_within: bool,
    /// True when containers reach the outside with the host's address.
    pub masquerade: bool,
    /// The host's interface of a macvlan.
    pub parent: Option<String>,
    /// The mode of a macvlan.
    pub mode: Option<String>,
    /// The machine's address at which ports are published that name none.
    pub binding: Option<Ipv4Addr>,
    /// What the names of interfaces in containers begin with.
    pub prefix: Option<String>,
    /// What means nothing here.
    pub unknown: Vec<String>,
}

impl Options {
    /// Those of a network whose options were checked.
    pub fn of(record: &NetworkRecord) -> Self {
        Self::parse(record).unwrap_or(Self { talk_within: true, masquerade: true, ..Self::default() })
    }

    /// What the names of interfaces in containers begin with.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("eth")
    }

    /// Refuses options that would change nothing, which Docker passes over. Networks of earlier versions may have some.
    pub fn refuse_unknown(&self) -> Result<()> {
        let Some(option) = self.unknown.first() else { return Ok(()) };
        let message = format!("network option `{option}` means nothing here");
        Err(Error::refused(Kind::Unsupported, format!("{message}: the options are {}", KNOWN.join(", "))))
    }

    /// Reads them.
    pub fn parse(record: &NetworkRecord) -> Result<Self> {
        let mut options = Self { talk_within: true, masquerade: true, ..Self::default() };
        for (key, value) in &record.options {
            let wrong =
                || Error::refused(Kind::InvalidInput, format!("invalid value of network option `{key}`: `{value}`"));
            let boolean = || value.parse::<bool>().map_err(|_| wrong());
            match key.as_str() {
                "com.docker.network.driver.mtu" | "mtu" => {
                    options.mtu = Some(value.parse().ok().filter(|mtu| (68..=65535).contains(mtu)).ok_or_else(wrong)?);
                }
                "com.docker.network.bridge.name" => {
                    check_interface(value).map_err(|()| wrong())?;
                    options.bridge = Some(value.clone());
                }
                "com.docker.network.bridge.enable_icc" | "icc" => options.talk_within = boolean()?,
                "com.docker.network.bridge.enable_ip_masquerade" => options.masquerade = boolean()?,
                "parent" => {
                    check_interface(value).map_err(|()| wrong())?;
                    options.parent = Some(value.clone());
                }
                "macvlan_mode" | "mode" => {
                    let known = ["bridge", "private", "vepa", "passthru"].contains(&value.as_str());
                    options.mode = Some(known.then(|| value.clone()).ok_or_else(wrong)?);
                }
                "com.docker.network.bridge.host_binding_ipv4" => {
                    options.binding = Some(value.parse().map_err(|_| wrong())?)
                        .filter(|binding: &Ipv4Addr| !binding.is_unspecified());
                }
                "com.docker.network.container_iface_prefix" => {
                    // The number behind it has to fit too.
                    check_interface(&format!("{value}00")).map_err(|()| wrong())?;
                    options.prefix = Some(value.clone());
                }
                // Other modes leave translation out, which is what the rules here are made of.
                "com.docker.network.bridge.gateway_mode_ipv4" | "com.docker.network.bridge.gateway_mode_ipv6" => {
                    if value != "nat" {
                        let message = format!(
                            "the gateway mode `{value}` of network option `{key}` is not there: it is `nat`, or `--internal` for a network that nothing leads out of"
                        );
                        return Err(Error::refused(Kind::Unsupported, message));
                    }
                }
                _ => options.unknown.push(key.clone()),
            }
        }
        Ok(options)
    }
}

fn check_interface(name: &str) -> Result<(), ()> {
    let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    let fine = !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fits) && name != "." && name != "..";
    if fine { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(options: &[(&str, &str)]) -> NetworkRecord {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        NetworkRecord { options, ..NetworkRecord::default() }
    }

    #[test]
    fn options_are_checked_where_they_mean_something() {
        let options = Options::parse(&record(&[
            ("com.docker.network.driver.mtu", "1400"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.name", "br-x"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
            ("com.docker.network.container_iface_prefix", "net"),
        ]))
        .unwrap();
        options.refuse_unknown().unwrap();
        assert_eq!((options.prefix(), options.binding), ("net", Some(Ipv4Addr::LOCALHOST)));
        assert_eq!((options.mtu, options.bridge.as_deref()), (Some(1400), Some("br-x")));
        assert!(!options.talk_within && options.masquerade);
        for (key, value) in [
            ("mtu", "1"),
            ("icc", "perhaps"),
            ("com.docker.network.bridge.name", "../../etc"),
            ("com.docker.network.bridge.name", "sixteen-letters-"),
            ("macvlan_mode", "x"),
            ("com.docker.network.bridge.host_binding_ipv4", "::1"),
            ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
            ("com.docker.network.container_iface_prefix", "fourteen-lette"),
        ] {
            assert!(Options::parse(&record(&[(key, value)])).is_err(), "{key}={value}");
        }
        let refused = Options::parse(&record(&[("unheard.of", "x")])).unwrap().refuse_unknown().unwrap_err();
        assert!(refused.to_string().starts_with("network option `unheard.of` means nothing here: the options are "));
    }
}
