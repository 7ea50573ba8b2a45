//! Value parsers whose refusals clap prints with the flag's name.

use std::net::IpAddr;

use ipnet::IpNet;
use mica_engine::container::{NetworkChoice, NetworkMode, parse_mac, parse_network};

/// `--network`.
pub fn network(text: &str) -> Result<NetworkChoice, String> {
    parse_network(text).map_err(|error| error.to_string())
}

/// `build --network`.
pub fn build_network(text: &str) -> Result<String, String> {
    match network(text)? {
        NetworkChoice::Mode(NetworkMode::Container(_)) => {
            Err("a build step cannot share the network of a container".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// `--mac-address`.
pub fn mac(text: &str) -> Result<String, String> {
    parse_mac(text).map_err(|error| error.to_string())
}

/// `--subnet` and `--ip-range`.
pub fn subnet(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("`{text}` is no subnet: write it as 10.1.0.0/16"))
}

/// `--aux-address`.
pub fn named_address(text: &str) -> Result<(String, IpAddr), String> {
    let wrong = || format!("`{text}` is no address with a name: write it as router=10.1.0.9");
    let (name, address) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    Ok((name.to_owned(), address.parse().map_err(|_| wrong())?))
}

/// `--ipv4`.
pub fn ipv4(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => {
            Err("networks without IPv4 are not there: containers are told apart by their IPv4 addresses".to_owned())
        }
        _ => Err("it is `true` or `false`".to_owned()),
    }
}

/// `--scope`.
pub fn scope(text: &str) -> Result<String, String> {
    if text == "local" {
        Ok(text.to_owned())
    } else {
        Err("networks are of this machine alone: use `local`".to_owned())
    }
}

/// `--ipam-driver`, by its names with Docker and Podman.
pub fn ipam_driver(text: &str) -> Result<String, String> {
    match text {
        "default" | "host-local" => Ok(text.to_owned()),
        _ => Err("addresses are given by mica itself: use `default`".to_owned()),
    }
}

/// `--detach-keys`.
pub fn detach_keys(text: &str) -> Result<crate::terminal::DetachKeys, String> {
    crate::terminal::DetachKeys::parse(text)
}
