//! Where a repository is: servers with their addresses and how far they are trusted, in the order in which they are tried.

use std::net::IpAddr;
use std::path::PathBuf;

use mica_engine::{Error, Kind, Reference, Result};
use reqwest::Url;

/// The host of Docker Hub's registry; `docker.io` is only its name.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One server that has a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host, port, and what stands before `/v2/`.
    pub base: Url,
    /// The repository's path on this server.
    pub path: String,
    /// How its certificate is checked.
    pub verify: Verify,
    /// The certificate this client shows, if the server wants one.
    pub identity: Option<Identity>,
    /// True for a server that only has copies: it is asked for reading and never written to.
    pub mirror: bool,
    /// The name whose credentials apply, as people write it: `docker.io`, `localhost:5000`.
    pub registry: String,
}

/// How a server's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verify {
    /// By the system's authorities and those of these files, in PEM.
    Authorities(Vec<PathBuf>),
    /// Not at all, because the configuration says so.
    Insecure,
}

impl Default for Verify {
    fn default() -> Self {
        Self::Authorities(Vec::new())
    }
}

/// Files of a client certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The certificate with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Knows where repositories are.
pub trait Directory: Send + Sync + std::fmt::Debug {
    /// The servers of a repository: copies before the registry itself, at least one. A registry that the configuration
    /// forbids is `Kind::Denied`.
    fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>>;

    /// The registry itself, by TLS and plainly where both will do: what is written to and logged in to. Unless something else
    /// is said, what is read from last.
    fn own(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        Ok(self.endpoints(reference)?.into_iter().filter(|endpoint| !endpoint.mirror).collect())
    }
}

/// The rules that hold without any configuration: TLS everywhere; plain HTTP only on this machine, where it is tried second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defaults;

impl Directory for Defaults {
    fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let schemes: &[&str] = if is_loopback(reference.domain()) { &["https", "http"] } else { &["https"] };
        schemes.iter().map(|scheme| Endpoint::of(reference, scheme)).collect()
    }
}

impl Endpoint {
    /// The registry's own server, reached by `https` or `http`.
    pub fn of(reference: &Reference, scheme: &str) -> Result<Endpoint> {
        let registry = reference.domain();
        Ok(Endpoint {
            base: base(&format!("{scheme}://{}", server_of(registry)))?,
            path: reference.path().to_owned(),
            verify: Verify::default(),
            identity: None,
            mirror: false,
            registry: registry.to_owned(),
        })
    }

    /// True when nothing between us and the server is encrypted.
    pub fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// The address of something below `/v2/`; `rest` holds no unescaped text of strangers.
    pub(crate) fn url(&self, rest: &str) -> Result<Url> {
        let prefix = self.base.path().trim_end_matches('/');
        let mut url = self.base.clone();
        url.set_path(&format!("{prefix}/v2/{rest}"));
        Ok(url)
    }

    /// The address of something in the repository.
    pub(crate) fn in_repository(&self, rest: &str) -> Result<Url> {
        self.url(&format!("{}/{rest}", self.path))
    }
}

/// The host that answers for a registry.
pub(crate) fn server_of(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB } else { registry }
}

/// Reads a server's address.
pub fn base(text: &str) -> Result<Url> {
    let refuse = |reason: &str| {
        let shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
        Error::refused(Kind::InvalidInput, format!("`{shown}` is not the address of a registry: {reason}"))
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("it is neither http nor https"));
    }
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it is a host, a port and a path, without a user"));
    }
    Ok(url)
}

/// True for names of this machine alone: 127.0.0.0/8, `::1`, `localhost`, with or without a port.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && (!name.contains(':') || name.starts_with('[')) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("10.0.0.1:5000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[2001:db8::1]:5000", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
            let reference = Reference::parse(&format!("{host}/a/b")).unwrap();
            let plain = Defaults.endpoints(&reference).unwrap().iter().any(Endpoint::is_plain);
            assert_eq!(plain, expected, "{host}");
        }
    }

    #[test]
    fn addresses_are_hosts_and_paths() {
        let hub = Endpoint::of(&Reference::parse("alpine").unwrap(), "https").unwrap();
        let url = hub.in_repository("manifests/latest").unwrap();
        assert_eq!(url.as_str(), "https://registry-1.docker.io/v2/library/alpine/manifests/latest");
        let mirror = Endpoint { base: base("https://mirror.example:8443/hub/").unwrap(), ..hub };
        let url = mirror.in_repository("tags/list").unwrap();
        assert_eq!(url.as_str(), "https://mirror.example:8443/hub/v2/library/alpine/tags/list");
        for text in ["file:///etc", "https://", "https://user:secret@host", "host", "ftp://host"] {
            assert!(base(text).is_err(), "{text}");
        }
    }
}
