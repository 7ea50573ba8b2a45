//! The driver options of a network that mean something here, in Docker's spellings and short ones.

use mica_engine::Kind;
use mica_engine::network::NetworkRecord;

use crate::error::{Error, Result};

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
}

impl Options {
    /// Those of a network whose options were checked.
    pub fn of(record: &NetworkRecord) -> Self {
        Self::parse(record).unwrap_or(Self { talk_within: true, masquerade: true, ..Self::default() })
    }

    /// Reads them. Options that mean nothing here are kept with the network and passed over, as Docker does.
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
                _ => {}
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
            ("unheard.of", "x"),
        ]))
        .unwrap();
        assert_eq!((options.mtu, options.bridge.as_deref()), (Some(1400), Some("br-x")));
        assert!(!options.talk_within && options.masquerade);
        for (key, value) in [
            ("mtu", "1"),
            ("icc", "perhaps"),
            ("com.docker.network.bridge.name", "../../etc"),
            ("com.docker.network.bridge.name", "sixteen-letters-"),
            ("macvlan_mode", "x"),
        ] {
            assert!(Options::parse(&record(&[(key, value)])).is_err(), "{key}={value}");
        }
    }
}
