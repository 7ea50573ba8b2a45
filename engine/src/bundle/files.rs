//! The three files every container gets of its own: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.

use std::fmt::Write as _;

use std::net::IpAddr;

use crate::container::{ContainerSpec, NetworkMode};
use crate::network::NetworkState;

/// What of its networks a container's files tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The host's, as seen from it.
    pub host: Option<IpAddr>,
    /// The name server of its own.
    pub name_server: Option<IpAddr>,
}

impl Surroundings {
    /// Those of a container that is connected so.
    pub fn of(state: NetworkState) -> Self {
        let addresses = state.endpoints.iter().flat_map(|endpoint| {
            let ipv4 = endpoint.ipv4.map(|(address, _)| IpAddr::V4(address));
            ipv4.into_iter().chain(endpoint.ipv6.map(|(address, _)| IpAddr::V6(address)))
        });
        Self { addresses: addresses.collect(), host: state.host, name_server: state.name_server.map(IpAddr::V4) }
    }
}

/// The text of `/etc/hosts`. A container on the host's network starts from the host's file.
pub fn hosts(hostname: &str, spec: &ContainerSpec, host_file: &str, around: &Surroundings) -> String {
    let mut text = match &spec.network {
        NetworkMode::Host => with_newline(host_file),
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    for entry in &spec.add_hosts {
        match entry.split_once(':') {
            Some((name, "host-gateway")) => {
                let on_host = (spec.network == NetworkMode::Host).then_some(IpAddr::from([127, 0, 0, 1]));
                if let Some(address) = around.host.or(on_host) {
                    let _ = writeln!(text, "{address}\t{name}");
                }
            }
            Some((name, address)) => {
                let _ = writeln!(text, "{address}\t{name}");
            }
            None => {}
        }
    }
    if spec.network == NetworkMode::None {
        let _ = writeln!(text, "127.0.0.1\t{hostname}");
    }
    for address in &around.addresses {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

/// The text of `/etc/resolv.conf`. Without the host's loopback, a resolver that listens there is of no use. A name server of
/// the container's own asks the others itself.
pub fn resolv_conf(spec: &ContainerSpec, host_file: &str, around: &Surroundings) -> String {
    let own = !spec.dns.is_empty() || !spec.dns_search.is_empty() || !spec.dns_options.is_empty();
    if spec.network == NetworkMode::Host && !own {
        return with_newline(host_file);
    }
    let mut text = String::new();
    let keyword = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    for line in host_file.lines() {
        let kept = match keyword(line).as_str() {
            "nameserver" => {
                let address = line.split_whitespace().nth(1).unwrap_or_default();
                let loopback = address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
                around.name_server.is_none() && spec.dns.is_empty() && (spec.network == NetworkMode::Host || !loopback)
            }
            "search" | "domain" => spec.dns_search.is_empty(),
            "options" => spec.dns_options.is_empty(),
            _ => false,
        };
        if kept {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    match around.name_server {
        Some(address) => {
            let _ = writeln!(text, "nameserver {address}");
        }
        None => spec.dns.iter().for_each(|address| text.push_str(&format!("nameserver {address}\n"))),
    }
    if !spec.dns_search.is_empty() && spec.dns_search != ["."] {
        let _ = writeln!(text, "search {}", spec.dns_search.join(" "));
    }
    let mut options = spec.dns_options.clone();
    // Names of containers have no dots.
    if around.name_server.is_some() && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

fn with_newline(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_container_and_what_was_added() {
        let mut spec =
            ContainerSpec { add_hosts: vec!["db:10.0.0.7".into(), "six:fe80::1".into()], ..Default::default() };
        let text = hosts("0123456789ab", &spec, "1.2.3.4 secret", &Surroundings::default());
        assert!(text.starts_with("127.0.0.1\tlocalhost\n") && !text.contains("secret"));
        assert!(text.ends_with("10.0.0.7\tdb\nfe80::1\tsix\n127.0.0.1\t0123456789ab\n"), "{text}");
        spec.network = NetworkMode::Host;
        let around = Surroundings::default();
        assert_eq!(hosts("h", &spec, "1.2.3.4 name", &around), "1.2.3.4 name\n10.0.0.7\tdb\nfe80::1\tsix\n");
        spec.network = NetworkMode::Networks;
        spec.add_hosts = vec!["up:host-gateway".into()];
        let around = Surroundings {
            addresses: vec!["10.1.0.2".parse().unwrap()],
            host: "10.1.0.1".parse().ok(),
            name_server: None,
        };
        let text = hosts("h", &spec, "", &around);
        assert!(text.ends_with("ip6-allrouters\n10.1.0.1\tup\n10.1.0.2\th\n"), "{text}");
    }

    #[test]
    fn resolvers_of_the_host_are_kept_where_they_can_be_reached() {
        let host = "# comment\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch lan\noptions edns0\n";
        let mut spec = ContainerSpec::default();
        let around = Surroundings::default();
        assert_eq!(resolv_conf(&spec, host, &around), "nameserver 9.9.9.9\nsearch lan\noptions edns0\n");
        let own = Surroundings { name_server: "127.0.0.11".parse().ok(), ..Surroundings::default() };
        assert_eq!(
            resolv_conf(&spec, host, &own),
            "search lan\noptions edns0\nnameserver 127.0.0.11\noptions ndots:0\n"
        );
        spec.dns = vec!["1.1.1.1".into()];
        spec.dns_search = vec![".".into()];
        assert_eq!(resolv_conf(&spec, host, &around), "options edns0\nnameserver 1.1.1.1\n");
        let on_host = ContainerSpec { network: NetworkMode::Host, ..Default::default() };
        assert_eq!(resolv_conf(&on_host, host, &around), host);
    }
}
