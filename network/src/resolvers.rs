//! The host's name servers, as `/etc/resolv.conf` has them.

use std::net::IpAddr;

/// Where they are written down.
pub const PATH: &str = "/etc/resolv.conf";

/// The host's name servers at this moment.
pub fn of_host() -> Vec<IpAddr> {
    parse(&fs_err::read_to_string(PATH).unwrap_or_default())
}

/// True when every name server of the host listens on its loopback, where containers do not reach it.
pub fn only_loopback() -> bool {
    of_host().iter().all(IpAddr::is_loopback)
}

fn parse(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.split('%').next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn name_servers_are_found_among_other_lines() {
        let text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver x\n";
        let found: Vec<String> = super::parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53", "fe80::1"]);
    }
}
