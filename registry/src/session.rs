//! One request to one server: signed, redirected and repeated as far as that is safe.
//!
//! Redirects are followed here and not by the HTTP library, because credentials must not follow them: they go to the host
//! they were made for, by scheme, name and port, and to no other. A redirect from TLS to plain HTTP is refused, and so is
//! one to anything else than HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use mica_engine::{Error, Kind, Result};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};

use crate::authority::{Authority, Scope};
use crate::credential::Credentials;
use crate::endpoint::{Endpoint, Identity, Verify, is_loopback};
use crate::failure::{corrupt, host, unreachable};
use crate::patience::{Patience, is_passing, retry_after};

/// The most redirects in a row.
const REDIRECTS_MAX: usize = 10;
/// The most bytes of an answer that is neither a blob nor a document.
const ANSWER_MAX: usize = 1 << 20;

/// A request, whole, so that it can be repeated.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    pub(crate) scope: Scope,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url, scope: Scope) -> Request {
        Request { method, url, headers: Vec::new(), body: Bytes::new(), scope }
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Request {
        // Everything that is sent was made here, of digests and numbers.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    #[must_use]
    pub(crate) fn body(mut self, body: Bytes) -> Request {
        self.body = body;
        self
    }
}

/// What tells clients apart: whose certificates they take, which one they show, and whether the server is this machine.
type Trusted = (Verify, Option<Identity>, bool);

/// Connections, tokens, and how long anything is waited for.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) patience: Patience,
    authority: Authority,
    clients: Mutex<BTreeMap<Trusted, Client>>,
    /// Registries that send whole blobs where parts are asked for.
    without_ranges: Mutex<BTreeSet<String>>,
}

impl Session {
    pub(crate) fn new(credentials: Arc<dyn Credentials>, patience: Patience) -> Session {
        let authority = Authority::new(credentials);
        Session { patience, authority, clients: Mutex::default(), without_ranges: Mutex::default() }
    }

    /// False for a registry that was seen to know no ranges.
    pub(crate) fn serves_ranges(&self, registry: &str) -> bool {
        !self.without_ranges.lock().unwrap_or_else(PoisonError::into_inner).contains(registry)
    }

    /// Remembers a registry that knows no ranges.
    pub(crate) fn knows_no_ranges(&self, registry: &str) {
        self.without_ranges.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned());
    }

    /// Asks until there is an answer that will not be another one in a moment. Answers that refuse come back too, except
    /// those that ask for credentials, which are tried once more with them.
    pub(crate) async fn send(&self, endpoint: &Endpoint, request: &Request) -> Result<Response> {
        let mut failed = 0;
        loop {
            let outcome = self.once(endpoint, request).await;
            let asked = match &outcome {
                Ok(response) if is_passing(response.status()) => asked(response.headers()),
                // A copy that nobody can reach has the registry itself behind it.
                Err(Failure::Unreachable(_)) if endpoint.mirror => return outcome.map_err(Failure::into_error),
                Err(Failure::Passing(_) | Failure::Unreachable(_)) => None,
                _ => return outcome.map_err(Failure::into_error),
            };
            // A server that nobody can reach is seldom there a moment later.
            failed += if matches!(outcome, Err(Failure::Unreachable(_))) { 2 } else { 1 };
            if failed >= self.patience.attempts {
                return outcome.map_err(Failure::into_error);
            }
            let Some(pause) = self.patience.pause(failed, asked) else {
                let seconds = asked.unwrap_or_default().as_secs();
                let message = format!(
                    "registry `{}` wants to be asked again in {seconds} seconds, which is longer than anything is waited for",
                    endpoint.registry
                );
                return Err(Error::refused(Kind::Unavailable, message));
            };
            tracing::debug!(registry = endpoint.registry, failed, ?pause, "asking again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks once, for what must not be repeated as it is.
    pub(crate) async fn send_once(&self, endpoint: &Endpoint, request: &Request) -> Result<Response> {
        self.once(endpoint, request).await.map_err(Failure::into_error)
    }

    /// Asks once, with credentials where the server wants them, following redirects.
    async fn once(&self, endpoint: &Endpoint, request: &Request) -> Result<Response, Failure> {
        let client = self.client(endpoint)?;
        let mut signature = self.authority.known(endpoint, &request.scope, &client).await?;
        let signed = signature.is_some();
        let response = self.follow(endpoint, request, &client, signature.take()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // A token may have expired, or it is the first time that this server is asked.
        match self.authority.answer(endpoint, &request.scope, &client, response.headers()).await? {
            Some(signature) => self.follow(endpoint, request, &client, Some(signature)).await,
            None => {
                tracing::debug!(registry = endpoint.registry, signed, "not authorised");
                Ok(response)
            }
        }
    }

    async fn follow(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        client: &Client,
        signature: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut headers: HeaderMap = request.headers.iter().cloned().collect();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if let Some(signature) = signature.as_ref().filter(|_| same_host(&url, &endpoint.base)) {
                headers.insert(AUTHORIZATION, signature.clone());
            }
            let mut builder = client.request(request.method.clone(), url.clone()).headers(headers);
            if !request.body.is_empty() || matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
                builder = builder.body(request.body.clone());
            }
            let response = builder.send().await.map_err(|error| Failure::of(endpoint, error))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            url = redirected(&endpoint.registry, &url, response.headers())?;
        }
        Err(corrupt(&endpoint.registry, format!("more than {REDIRECTS_MAX} redirects in a row")).into())
    }

    /// Checks a credential where it is used; see [`crate::HttpRegistry::check_login`].
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The client for this server's certificates. Clients share nothing, so there is one for each set.
    pub(crate) fn client(&self, endpoint: &Endpoint) -> Result<Client> {
        let own = endpoint.base.host_str().is_some_and(is_loopback);
        let key = (endpoint.verify.clone(), endpoint.identity.clone(), own);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = build(endpoint, own, &self.patience)?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another try may do better.
    Passing(Error),
    /// There was no connection.
    Unreachable(Error),
    /// Another try comes to the same.
    Final(Error),
}

impl Failure {
    pub(crate) fn of(endpoint: &Endpoint, error: reqwest::Error) -> Failure {
        let passing = !error.is_builder() && !crate::failure::is_certificate(&error);
        let connected = !error.is_connect();
        let error = unreachable(&endpoint.registry, error);
        match passing {
            true if connected => Self::Passing(error),
            true => Self::Unreachable(error),
            false => Self::Final(error),
        }
    }

    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Passing(error) | Self::Unreachable(error) | Self::Final(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// Reads an answer that is small by nature.
pub(crate) async fn answer(mut response: Response, registry: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(registry, error))? {
        if bytes.len() + chunk.len() > ANSWER_MAX {
            return Err(corrupt(registry, format!("an answer of more than {ANSWER_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// True when credentials for one address may be shown at the other.
pub(crate) fn same_host(a: &Url, b: &Url) -> bool {
    (a.scheme(), a.host_str(), a.port_or_known_default()) == (b.scheme(), b.host_str(), b.port_or_known_default())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, if we go there.
fn redirected(registry: &str, from: &Url, headers: &HeaderMap) -> Result<Url> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok());
    let to = to.ok_or_else(|| corrupt(registry, "a redirect that leads nowhere"))?;
    match to.scheme() {
        "https" => Ok(to),
        "http" if from.scheme() == "http" => Ok(to),
        scheme => Err(corrupt(registry, format!("a redirect to `{scheme}` at `{}`, which is not followed", host(&to)))),
    }
}

fn asked(headers: &HeaderMap) -> Option<std::time::Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

fn build(endpoint: &Endpoint, own: bool, patience: &Patience) -> Result<Client> {
    // Nothing else in this program makes TLS connections; a second installation of the same provider is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("mica/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // Flow control of HTTP/2 slows blobs down, and connections of their own do not wait for each other.
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(patience.connect)
        .read_timeout(patience.stall);
    if own {
        builder = builder.no_proxy();
    }
    match &endpoint.verify {
        Verify::Insecure => builder = builder.tls_danger_accept_invalid_certs(true),
        Verify::Authorities(files) => {
            let mut authorities = Vec::new();
            for file in files {
                let pem = fs_err::read(file).map_err(Error::io("read", file))?;
                let held = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
                if held.is_empty() {
                    return Err(unusable(file, "it holds no certificates in PEM"));
                }
                authorities.extend(held);
            }
            builder = builder.tls_certs_merge(authorities);
        }
    }
    if let Some(identity) = &endpoint.identity {
        let mut pem = fs_err::read(&identity.certificate).map_err(Error::io("read", &identity.certificate))?;
        pem.extend(fs_err::read(&identity.key).map_err(Error::io("read", &identity.key))?);
        let identity = reqwest::Identity::from_pem(&pem)
            .map_err(|_| unusable(&identity.certificate, "it and its key are no certificate in PEM"))?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| unreachable(&endpoint.registry, error))
}

fn unusable(path: &std::path::Path, reason: &str) -> Error {
    Error::refused(Kind::InvalidInput, format!("cannot use `{}`: {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_http_and_not_from_tls_to_plain() {
        let headers = |location: &str| HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).unwrap())]);
        for (from, location, expected) in [
            ("https://a/v2/x", "https://b/y", Some("https://b/y")),
            ("https://a/v2/x", "/z?q=1", Some("https://a/z?q=1")),
            ("http://127.0.0.1:1/x", "http://127.0.0.1:2/y", Some("http://127.0.0.1:2/y")),
            ("https://a/x", "http://b/y", None),
            // Nor does a stranger reach what listens on this machine alone.
            ("https://a/x", "http://127.0.0.1:1/y", None),
            ("https://a/x", "file:///etc/passwd", None),
            ("http://a/x", "ftp://b/y", None),
        ] {
            let found = redirected("r", &Url::parse(from).unwrap(), &headers(location)).ok();
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{from} {location}");
        }
        assert!(redirected("r", &Url::parse("https://a").unwrap(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn credentials_belong_to_scheme_host_and_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(same_host(&url("https://a/x"), &url("https://a:443/y")));
        for other in ["https://b/x", "http://a/x", "https://a:444/x", "https://a.b/x"] {
            assert!(!same_host(&url("https://a/x"), &url(other)), "{other}");
        }
    }
}
