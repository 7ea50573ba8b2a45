//! Names that rules are written with: prefixes of image names, and the servers that stand in for them.

use mica_engine::Reference;

/// What begins the names that a rule is for: a host, a namespace on it, a repository, or `*.` and the end of a host's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// As matched: the host in small letters; a wildcard's begins with the dot.
    text: String,
    wildcard: bool,
}

/// A server and the namespace on it that stands in for what a prefix names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Host, with a port where it has one.
    pub(super) host: String,
    /// The namespace without slashes around it; may be empty.
    pub(super) path: String,
}

/// A server with copies, as Mica's own configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub(super) location: Location,
    /// True for `http://…`: it is asked in clear text, as somebody wrote down.
    pub(super) plain: bool,
}

/// `[registries]` of Mica's own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Where `search` looks when nothing names a registry.
    pub search: Vec<String>,
    /// Servers whose certificates are not verified, and which may speak plain HTTP.
    pub insecure: Vec<Prefix>,
    /// What is never asked.
    pub blocked: Vec<Prefix>,
    /// Copies, by what they are copies of.
    pub mirrors: Vec<(Prefix, Vec<Mirror>)>,
}

impl Prefix {
    /// Reads a prefix; the error is a reason.
    pub fn parse(text: &str) -> Result<Prefix, &'static str> {
        if let Some(host) = text.strip_prefix("*.") {
            check_host(host)?;
            return Ok(Prefix { text: format!(".{}", host.to_ascii_lowercase()), wildcard: true });
        }
        if text.contains("://") {
            return Err("it is a host or the beginning of a name, without `https://`");
        }
        let text = text.trim_end_matches('/');
        let (host, rest) = text.find('/').map_or((text, ""), |slash| text.split_at(slash));
        check_host(host)?;
        if rest.split('/').skip(1).any(str::is_empty) || rest.contains(['*', ' ', '\n']) {
            return Err("what follows the host is not the beginning of a repository's name");
        }
        Ok(Prefix { text: format!("{}{rest}", canonical(host)), wildcard: false })
    }

    /// What follows the prefix in the repository's name, if the rule is for this image: nothing, or `/` and more.
    pub(super) fn rest<'a>(&self, reference: &'a Reference) -> Option<&'a str> {
        let domain = canonical(reference.domain());
        let path = reference.path();
        if self.wildcard {
            let host = if self.text.contains(':') { &domain[..] } else { without_port(&domain) };
            return host.ends_with(&self.text).then_some(path);
        }
        let below = self.text.strip_prefix(&domain)?;
        if below.is_empty() {
            return Some(path);
        }
        let below = below.strip_prefix('/')?;
        // A prefix may go as far as a tag or a digest.
        let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = reference.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        let whole = format!("{path}{tag}{digest}");
        let fits = whole.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
        fits.then(|| path.get(below.len()..).unwrap_or_default().trim_start_matches('/'))
    }

    /// True when the rule is for this image.
    pub(super) fn fits(&self, reference: &Reference) -> bool {
        self.rest(reference).is_some()
    }

    /// How much a rule says: of several that fit, the longest counts.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*" } else { "" }, self.text)
    }
}

impl Location {
    /// Reads `HOST[:PORT][/NAMESPACE]`; the error is a reason.
    pub fn parse(text: &str) -> Result<Location, &'static str> {
        if text.contains("://") {
            return Err("it is a host and a namespace, without `https://`");
        }
        let text = text.trim_end_matches('/');
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        check_host(host)?;
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_part = |part: &str| part.bytes().all(|b| word(b) || b"._-".contains(&b)) && part.bytes().any(word);
        if !path.is_empty() && !path.split('/').all(is_part) {
            return Err("what follows the host is not a namespace of a-z, 0-9 and `._-`");
        }
        Ok(Location { host: host.to_owned(), path: path.to_owned() })
    }

    /// This place for what follows the prefix; `None` when that leaves no repository.
    pub(super) fn with(&self, rest: &str) -> Option<Location> {
        let path = match (self.path.is_empty(), rest.is_empty()) {
            (true, true) => return None,
            (true, false) => rest.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}/{rest}", self.path),
        };
        Some(Location { host: self.host.clone(), path })
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

impl Mirror {
    /// Reads `[http://|https://]HOST[:PORT][/NAMESPACE]`; the error is a reason.
    pub fn parse(text: &str) -> Result<Mirror, &'static str> {
        let (bare, plain) = match text.strip_prefix("http://") {
            Some(bare) => (bare, true),
            None => (text.strip_prefix("https://").unwrap_or(text), false),
        };
        Ok(Mirror { location: Location::parse(bare)?, plain })
    }
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.plain { "http" } else { "https" }, self.location)
    }
}

/// A host as names are compared: hosts know no case, and TLS has its port.
pub(crate) fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let bare = without_port(&host);
    let port = host[bare.len()..].strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
    match port {
        None | Some(443) => bare.to_owned(),
        Some(port) => format!("{bare}:{port}"),
    }
}

/// A host without the port that it may have.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if !port.contains(']') => bare,
        _ => host,
    }
}

/// Refuses what is no host, with or without a port; the error is a reason.
pub(crate) fn check_host(host: &str) -> Result<(), &'static str> {
    let bare = without_port(host);
    let port = host[bare.len()..].strip_prefix(':');
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("its port is not a number below 65536");
    }
    if let Some(address) = bare.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().map(drop).map_err(|_| "its address is not an IPv6 address");
    }
    let fits =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if bare.split('.').all(fits) { Ok(()) } else { Err("it does not begin with the name of a host") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn prefixes_end_where_names_have_a_separator() {
        let pinned = format!("r.example/a/b:1@sha256:{HEX}");
        for (prefix, name, expected) in [
            ("r.example", "r.example/a/b", Some("a/b")),
            ("r.example/", "r.example/a/b", Some("a/b")),
            ("R.Example", "r.example/a/b", Some("a/b")),
            ("r.example", "R.EXAMPLE/a/b", Some("a/b")),
            ("r.example", "r.example:443/a/b", Some("a/b")),
            ("r.example", "r.example:0443/a/b", Some("a/b")),
            ("r.example", "r.example:5000/a/b", None),
            ("r.example:5000", "r.example:5000/a/b", Some("a/b")),
            ("r.example:5000", "r.example:50000/a/b", None),
            ("r.example", "r.example.evil/a/b", None),
            ("r.example/a", "r.example/a/b", Some("b")),
            ("r.example/a", "r.example/ab/b", None),
            ("r.example/a/b", "r.example/a/b:1", Some("")),
            ("r.example/a/b:1", "r.example/a/b:1", Some("")),
            ("r.example/a/b:1", "r.example/a/b:10", None),
            ("r.example/a/b", &pinned, Some("")),
            ("docker.io", "alpine", Some("library/alpine")),
            ("docker.io/library", "alpine", Some("alpine")),
            ("*.example", "r.example/a", Some("a")),
            ("*.example", "x.y.example:5000/a", Some("a")),
            ("*.example", "R.EXAMPLE/a", Some("a")),
            ("*.example:5000", "r.example:5000/a", Some("a")),
            ("*.example:5000", "r.example/a", None),
            ("*.example", "example.com/a", None),
            ("*.example", "evil-example.com/a", None),
            ("[::1]:5000", "[::1]:5000/a", Some("a")),
        ] {
            let reference = Reference::parse(name).unwrap();
            let found = Prefix::parse(prefix).unwrap();
            assert_eq!(found.rest(&reference), expected, "{prefix} {name}");
        }
        for text in ["", "/a", "https://r.example", "a.*.example", "r.example//a", "*", "*.", "r.example:x", "[::g]"] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn locations_are_hosts_with_namespaces() {
        for (text, rest, expected) in [
            ("m.example", "a/b", Some("m.example/a/b")),
            ("m.example:5000/hub/", "a", Some("m.example:5000/hub/a")),
            ("m.example/hub/app", "", Some("m.example/hub/app")),
            ("m.example", "", None),
            ("mirror", "a", Some("mirror/a")),
        ] {
            let place = Location::parse(text).unwrap().with(rest);
            assert_eq!(place.map(|place| place.to_string()).as_deref(), expected, "{text} {rest}");
        }
        for text in ["", "https://m", "m/../x", "m/a b", "m/A", "user@m", "m/a//b", "m?x", "m/.", "m:99999"] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
        for (text, shown) in [
            ("m.example/hub", "https://m.example/hub"),
            ("https://m", "https://m"),
            ("http://10.0.0.1:5000", "http://10.0.0.1:5000"),
        ] {
            assert_eq!(Mirror::parse(text).unwrap().to_string(), shown);
        }
        assert!(Mirror::parse("ftp://m").is_err());
    }
}
