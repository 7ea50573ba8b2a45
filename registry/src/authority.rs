//! How requests are signed: with a user's secret, or with a token that a server gives out for one repository and a while.
//!
//! Tokens follow Docker's token authentication, which every registry of the field speaks: `GET realm?service=&scope=` with
//! the secret, or `POST` with an identity token in its place (OAuth 2). A realm on another host sees the secret by design of
//! that protocol, so it must speak TLS; plain HTTP is for registries that are plain themselves, on this machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mica_engine::{Error, Kind, Result};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::challenge::{Bearer, Challenge, parse};
use crate::credential::{Credential, Credentials};
use crate::endpoint::{Endpoint, is_loopback};
use crate::failure::{corrupt, host, refusal, unreachable};
use crate::patience::is_passing;
use crate::session::{Failure, answer};

/// How long a token is good that does not say so (Docker's token specification).
const LIFETIME: Duration = Duration::from_secs(60);
/// What is taken off a token's life, so that it does not end on its way.
const MARGIN: Duration = Duration::from_secs(10);

/// What a request wants to do, in the token protocol's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    /// Nothing in particular: a login, a search.
    pub(crate) fn none() -> Scope {
        Scope::default()
    }

    pub(crate) fn pull(endpoint: &Endpoint) -> Scope {
        Scope(vec![format!("repository:{}:pull", endpoint.path)])
    }

    pub(crate) fn push(endpoint: &Endpoint) -> Scope {
        Scope(vec![format!("repository:{}:pull,push", endpoint.path)])
    }

    /// Reading from one more repository of the same registry.
    pub(crate) fn and_pull(mut self, path: &str) -> Scope {
        self.0.push(format!("repository:{path}:pull"));
        self
    }
}

/// What a login came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The secret is right.
    Accepted,
    /// The secret is right, and this stands for it from now on.
    IdentityToken(Credential),
}

/// Credentials, what servers want to see, and the tokens they gave.
#[derive(Debug)]
pub(crate) struct Authority {
    credentials: Arc<dyn Credentials>,
    // Held while a token is fetched, so that many requests at once fetch one.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By server.
    wanted: HashMap<String, Challenge>,
    /// By server and scope.
    signatures: HashMap<(String, Scope), Signature>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

struct Signature {
    value: HeaderValue,
    until: Option<Instant>,
}

/// A token server's answer.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Authority {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Authority {
        Authority { credentials, state: Mutex::default() }
    }

    /// The signature for a server that has said what it wants before.
    pub(crate) async fn known(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        client: &Client,
    ) -> Result<Option<HeaderValue>, Failure> {
        let mut state = self.state.lock().await;
        let server = server(endpoint);
        if let Some(signature) = state.signatures.get(&(server.clone(), scope.clone()))
            && signature.until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(Some(signature.value.clone()));
        }
        let Some(challenge) = state.wanted.get(&server).cloned() else { return Ok(None) };
        self.sign(&mut state, endpoint, (scope, &challenge), client).await
    }

    /// The signature that an answer asks for; `None` when there is none to give.
    pub(crate) async fn answer(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Failure> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = parse(values) else { return Ok(None) };
        let mut state = self.state.lock().await;
        state.signatures.remove(&(server(endpoint), scope.clone()));
        state.wanted.insert(server(endpoint), challenge.clone());
        self.sign(&mut state, endpoint, (scope, &challenge), client).await
    }

    async fn sign(
        &self,
        state: &mut State,
        endpoint: &Endpoint,
        (scope, challenge): (&Scope, &Challenge),
        client: &Client,
    ) -> Result<Option<HeaderValue>, Failure> {
        let credential = self.credentials.for_repository(&endpoint.registry, &endpoint.path).await?;
        let signature = match challenge {
            Challenge::Basic => match credential {
                Some(Credential::Basic { user, secret }) => Signature { value: basic(&user, &secret)?, until: None },
                _ => return Ok(None),
            },
            Challenge::Bearer(bearer) => {
                let asked = Asked { endpoint, bearer, scope, credential: credential.as_ref(), offline: false };
                let token = fetch(client, &asked).await?;
                let lifetime = token.expires_in.map_or(LIFETIME, Duration::from_secs).max(LIFETIME);
                let text = token.token.or(token.access_token).filter(|token| !token.is_empty());
                let text =
                    text.ok_or_else(|| corrupt(&endpoint.registry, "an answer of its token server without a token"))?;
                Signature {
                    value: secret_header(&format!("Bearer {text}"))?,
                    until: Some(Instant::now() + lifetime - MARGIN),
                }
            }
        };
        let value = signature.value.clone();
        state.signatures.insert((server(endpoint), scope.clone()), signature);
        Ok(Some(value))
    }

    /// Whether a server takes a credential.
    pub(crate) async fn check(
        &self,
        endpoint: &Endpoint,
        client: &Client,
        credential: &Credential,
    ) -> Result<LoginOutcome> {
        let url = endpoint.url("")?;
        let ask = |signature: Option<HeaderValue>| {
            let mut request = client.request(Method::GET, url.clone());
            if let Some(signature) = signature {
                request = request.header(reqwest::header::AUTHORIZATION, signature);
            }
            request.send()
        };
        let first = ask(None).await.map_err(|error| unreachable(&endpoint.registry, error))?;
        let values = first.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = parse(values);
        let status = first.status();
        let (signature, outcome) = match (challenge, credential) {
            _ if status.is_success() => return Ok(LoginOutcome::Accepted),
            (Some(Challenge::Basic), Credential::Basic { user, secret }) => {
                (basic(user, secret)?, LoginOutcome::Accepted)
            }
            (Some(Challenge::Bearer(bearer)), credential) => {
                let scope = Scope::none();
                let asked =
                    Asked { endpoint, bearer: &bearer, scope: &scope, credential: Some(credential), offline: true };
                let token = fetch(client, &asked).await.map_err(Failure::into_error)?;
                let outcome = token.refresh_token.map_or(LoginOutcome::Accepted, |token| {
                    LoginOutcome::IdentityToken(Credential::IdentityToken(token))
                });
                let text = token.token.or(token.access_token).unwrap_or_default();
                (secret_header(&format!("Bearer {text}"))?, outcome)
            }
            _ => {
                let body = answer(first, &endpoint.registry).await?;
                return Err(refusal("log in", &endpoint.registry, status, &body));
            }
        };
        let second = ask(Some(signature)).await.map_err(|error| unreachable(&endpoint.registry, error))?;
        let status = second.status();
        if status.is_success() {
            return Ok(outcome);
        }
        let body = answer(second, &endpoint.registry).await?;
        Err(refusal("log in", &endpoint.registry, status, &body))
    }
}

/// What a token is asked for.
struct Asked<'a> {
    endpoint: &'a Endpoint,
    bearer: &'a Bearer,
    scope: &'a Scope,
    credential: Option<&'a Credential>,
    /// Whether an identity token is wanted too.
    offline: bool,
}

/// Asks the token server once; whoever wanted the token tries again where that may help.
async fn fetch(client: &Client, asked: &Asked<'_>) -> Result<Token, Failure> {
    let registry = &asked.endpoint.registry;
    let realm = realm(asked.endpoint, &asked.bearer.realm)?;
    let mut scopes: Vec<&str> = asked.scope.0.iter().map(String::as_str).collect();
    if scopes.is_empty() && !asked.offline {
        scopes.extend(asked.bearer.scope.as_deref());
    }
    let service = asked.bearer.service.as_deref().unwrap_or_default();
    let request = match asked.credential {
        Some(Credential::IdentityToken(token)) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token);
            form.append_pair("service", service)
                .append_pair("client_id", "mica")
                .append_pair("scope", &scopes.join(" "));
            let request = client.post(realm).header("content-type", "application/x-www-form-urlencoded");
            request.body(form.finish())
        }
        credential => {
            let mut url = realm;
            {
                let mut query = url.query_pairs_mut();
                if !service.is_empty() {
                    query.append_pair("service", service);
                }
                for scope in scopes {
                    query.append_pair("scope", scope);
                }
                if asked.offline {
                    query.append_pair("offline_token", "true").append_pair("client_id", "mica");
                }
                if let Some(Credential::Basic { user, .. }) = credential {
                    query.append_pair("account", user);
                }
            }
            match credential {
                Some(Credential::Basic { user, secret }) => {
                    client.get(url).header(reqwest::header::AUTHORIZATION, basic(user, secret)?)
                }
                _ => client.get(url),
            }
        }
    };
    let response = request.send().await.map_err(|error| Failure::of(asked.endpoint, error))?;
    let status = response.status();
    let body = answer(response, registry).await?;
    if status != StatusCode::OK {
        let refused = refusal("get a token", registry, status, &body);
        return Err(if is_passing(status) { Failure::Passing(refused) } else { Failure::Final(refused) });
    }
    let token = serde_json::from_slice(&body);
    Ok(token.map_err(|_| corrupt(registry, "an answer of its token server that is not JSON"))?)
}

/// A realm that may see secrets.
fn realm(endpoint: &Endpoint, text: &str) -> Result<Url> {
    let url =
        Url::parse(text).map_err(|_| corrupt(&endpoint.registry, "the address of a token server that is none"))?;
    let plain = endpoint.is_plain()
        && url.host_str().is_some_and(|name| is_loopback(name) || Some(name) == endpoint.base.host_str());
    match url.scheme() {
        "https" => Ok(url),
        "http" if plain => Ok(url),
        _ => Err(Error::refused(
            Kind::Denied,
            format!(
                "registry `{}` names a token server at `{}` that does not speak TLS",
                endpoint.registry,
                host(&url)
            ),
        )
        .with_hint("it would see your password in clear text")),
    }
}

fn server(endpoint: &Endpoint) -> String {
    format!("{}://{}", endpoint.base.scheme(), host(&endpoint.base))
}

fn basic(user: &str, secret: &str) -> Result<HeaderValue> {
    secret_header(&format!("Basic {}", BASE64.encode(format!("{user}:{secret}"))))
}

fn secret_header(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::refused(Kind::InvalidInput, "the credential has characters that no HTTP header may have")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use mica_engine::Reference;

    use super::*;

    #[test]
    fn token_servers_speak_tls_unless_everything_is_on_this_machine() {
        let tls = Endpoint::of(&Reference::parse("r.example/a").unwrap(), "https").unwrap();
        let local = Endpoint::of(&Reference::parse("localhost:5000/a").unwrap(), "http").unwrap();
        for (endpoint, text, fits) in [
            (&tls, "https://auth.example/token", true),
            (&tls, "http://auth.example/token", false),
            (&tls, "http://127.0.0.1/token", false),
            (&local, "http://127.0.0.1:5001/token", true),
            (&local, "http://auth.example/token", false),
            (&tls, "file:///etc/passwd", false),
            (&tls, "token", false),
        ] {
            assert_eq!(realm(endpoint, text).is_ok(), fits, "{text}");
        }
    }
}
