//! The three files every container gets of its own: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.

use std::fmt::Write as _;

use crate::container::{ContainerSpec, NetworkMode};

/// The text of `/etc/hosts`. A container on the host's network starts from the host's file.
pub fn hosts(hostname: &str, spec: &ContainerSpec, host_file: &str) -> String {
    let mut text = match spec.network {
        NetworkMode::Host => with_newline(host_file),
        NetworkMode::None => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    for entry in &spec.add_hosts {
        if let Some((name, address)) = entry.split_once(':') {
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    if spec.network == NetworkMode::None {
        let _ = writeln!(text, "127.0.0.1\t{hostname}");
    }
    text
}

/// The text of `/etc/resolv.conf`. Without the host's loopback, a resolver that listens there is of no use.
pub fn resolv_conf(spec: &ContainerSpec, host_file: &str) -> String {
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
                spec.dns.is_empty() && (spec.network == NetworkMode::Host || !loopback)
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
    for address in &spec.dns {
        let _ = writeln!(text, "nameserver {address}");
    }
    if !spec.dns_search.is_empty() && spec.dns_search != ["."] {
        let _ = writeln!(text, "search {}", spec.dns_search.join(" "));
    }
    if !spec.dns_options.is_empty() {
        let _ = writeln!(text, "options {}", spec.dns_options.join(" "));
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
        let text = hosts("0123456789ab", &spec, "1.2.3.4 secret");
        assert!(text.starts_with("127.0.0.1\tlocalhost\n") && !text.contains("secret"));
        assert!(text.ends_with("10.0.0.7\tdb\nfe80::1\tsix\n127.0.0.1\t0123456789ab\n"), "{text}");
        spec.network = NetworkMode::Host;
        assert_eq!(hosts("h", &spec, "1.2.3.4 name"), "1.2.3.4 name\n10.0.0.7\tdb\nfe80::1\tsix\n");
    }

    #[test]
    fn resolvers_of_the_host_are_kept_where_they_can_be_reached() {
        let host = "# comment\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch lan\noptions edns0\n";
        let mut spec = ContainerSpec::default();
        assert_eq!(resolv_conf(&spec, host), "nameserver 9.9.9.9\nsearch lan\noptions edns0\n");
        spec.dns = vec!["1.1.1.1".into()];
        spec.dns_search = vec![".".into()];
        assert_eq!(resolv_conf(&spec, host), "options edns0\nnameserver 1.1.1.1\n");
        assert_eq!(resolv_conf(&ContainerSpec { network: NetworkMode::Host, ..Default::default() }, host), host);
    }
}
