//! Value parsers whose refusals clap prints with the flag's name.

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
/// `--userns`.
pub fn userns(text: &str) -> Result<String, String> {
    match text {
        "host" => Ok(text.to_owned()),
        _ => Err("this version of mica has no user namespaces for containers: use `host`".to_owned()),
    }
}

/// `--detach-keys`.
pub fn detach_keys(text: &str) -> Result<crate::terminal::DetachKeys, String> {
    crate::terminal::DetachKeys::parse(text)
}
