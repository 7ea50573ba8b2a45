//! The format that Docker's `config.json` and Podman's `auth.json` share: credentials by registry or by repository, and the
//! names of programs that keep them. A pure function of text; no message of it ever repeats a value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::credential::Credential;

/// Docker Hub, as credentials have always been filed under.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker Hub as images name it.
const DOCKER_HUB: &str = "docker.io";

/// What one file says.
#[derive(Default, PartialEq, Eq)]
pub struct CredentialFile {
    /// Credentials by key. A key without a credential is how Docker notes that a program keeps it.
    auths: BTreeMap<String, Option<Credential>>,
    /// Programs by key.
    helpers: BTreeMap<String, String>,
    /// The program for everything else.
    store: Option<String>,
}

impl std::fmt::Debug for CredentialFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialFile")
            .field("helpers", &self.helpers)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// One place where a credential may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file itself.
    Here(Credential),
    /// A program, and the name under which it keeps it.
    Program {
        /// What follows `docker-credential-`.
        name: String,
        /// What it is asked for.
        server: String,
    },
}

impl CredentialFile {
    /// Reads a file's text; the error says what is wrong and where, and repeats nothing of what is there.
    pub fn parse(text: &str) -> Result<CredentialFile, String> {
        let root = object(text)?;
        let mut file = CredentialFile::default();
        for (key, value) in section(&root, "auths")?.into_iter().flatten() {
            let entry = match value {
                Value::Object(entry) => entry,
                Value::Null => continue,
                _ => return Err(format!("`auths` of `{}` is not an object", shown(key))),
            };
            let credential = credential(entry).map_err(|reason| format!("`auths` of `{}`: {reason}", shown(key)))?;
            file.auths.insert(key.clone(), credential);
        }
        for (key, value) in section(&root, "credHelpers")?.into_iter().flatten() {
            let name = value.as_str().ok_or_else(|| format!("`credHelpers` of `{}` is not a string", shown(key)))?;
            file.helpers.insert(key.clone(), name.to_owned());
        }
        file.store = string(&root, "credsStore")?.map(str::to_owned);
        Ok(file)
    }

    /// Where the credential for a repository may be, the most specific first.
    pub fn sources(&self, registry: &str, path: &str) -> Vec<Source> {
        let mut found = Vec::new();
        for place in places(registry, path) {
            let is_host = !place.contains('/');
            if let Some((key, name)) = find(&self.helpers, &place) {
                let server = if normal(key) == DOCKER_HUB { DOCKER_HUB_KEY.to_owned() } else { key.to_owned() };
                found.push(Source::Program { name: name.clone(), server });
            } else if let Some(name) = self.store.as_ref().filter(|_| is_host) {
                found.push(Source::Program { name: name.clone(), server: key_of(&place) });
            }
            let here = find(&self.auths, &place).and_then(|(_, credential)| credential.clone());
            found.extend(here.map(Source::Here));
        }
        found
    }

    /// The program that keeps a registry's credential, if one does.
    pub(super) fn program(&self, registry: &str) -> Option<&str> {
        find(&self.helpers, normal_registry(registry)).map(|(_, name)| name).or(self.store.as_ref()).map(String::as_str)
    }

    /// The keys under which a registry's own credential is filed.
    pub(super) fn keys(&self, registry: &str) -> Vec<String> {
        let wanted = normal_registry(registry);
        self.auths.keys().filter(|key| normal(key) == wanted).cloned().collect()
    }
}

/// The key under which a registry is filed.
pub(super) fn key_of(registry: &str) -> String {
    if normal_registry(registry) == DOCKER_HUB { DOCKER_HUB_KEY } else { registry }.to_owned()
}

/// Reads a JSON object.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(root)) => Ok(root),
        Ok(_) => Err("it is not a JSON object".to_owned()),
        Err(error) => Err(format!("line {} is not JSON", error.line())),
    }
}

fn section<'a>(root: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Map<String, Value>>, String> {
    match root.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(section)) => Ok(Some(section)),
        Some(_) => Err(format!("`{name}` is not an object")),
    }
}

fn string<'a>(entry: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match entry.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("`{name}` is not a string")),
    }
}

fn credential(entry: &Map<String, Value>) -> Result<Option<Credential>, String> {
    if let Some(token) = string(entry, "identitytoken")? {
        return Ok(Some(Credential::IdentityToken(token.to_owned())));
    }
    if let Some(auth) = string(entry, "auth")? {
        let decoded = BASE64.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or("`auth` is not base64 of text")?;
        let (user, secret) = decoded.split_once(':').ok_or("`auth` is not base64 of `user:secret`")?;
        // Old versions of Docker padded the secret.
        let secret = secret.trim_end_matches('\0');
        return Ok(Some(Credential::Basic { user: user.to_owned(), secret: secret.to_owned() }));
    }
    let (user, secret) = (string(entry, "username")?, string(entry, "password")?);
    Ok(user.zip(secret).map(|(user, secret)| Credential::Basic { user: user.to_owned(), secret: secret.to_owned() }))
}

/// A repository and the namespaces around it, down to the registry.
fn places(registry: &str, path: &str) -> Vec<String> {
    let registry = normal_registry(registry);
    let mut places = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        places.push(format!("{registry}/{rest}"));
        rest = rest.rsplit_once('/').map_or("", |(namespace, _)| namespace);
    }
    places.push(registry.to_owned());
    places
}

/// What a map has for a place: by the key that is spelled so, else by one that means the same.
fn find<'a, T>(map: &'a BTreeMap<String, T>, place: &str) -> Option<(&'a str, &'a T)> {
    let exact = map.get_key_value(place).or_else(|| map.get_key_value(&key_of(place)));
    let found = exact.or_else(|| map.iter().find(|(key, _)| normal(key) == place));
    found.map(|(key, value)| (key.as_str(), value))
}

/// A key without what clients have put around it over the years: `https://host/v1/` is the host, `host/namespace` stays.
fn normal(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let text = match bare {
        Some(bare) => bare.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let host = normal_registry(host);
    if path.is_empty() || matches!(path, "v1" | "v2") { host.to_owned() } else { format!("{host}/{path}") }
}

/// The names of Docker Hub are one.
pub(super) fn normal_registry(registry: &str) -> &str {
    match registry {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// A key as a message repeats it.
fn shown(key: &str) -> String {
    // Whoever wrote `https://user:secret@host` as a key would not want it repeated.
    let key = key.rsplit_once('@').map_or(key, |(_, host)| host);
    key.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, secret: &str) -> Source {
        Source::Here(Credential::Basic { user: user.into(), secret: secret.into() })
    }

    fn auth(user: &str, secret: &str) -> String {
        BASE64.encode(format!("{user}:{secret}"))
    }

    #[test]
    fn the_most_specific_credential_comes_first() {
        let (hub, host, team, app) = (auth("hub", "h"), auth("host", "x"), auth("team", "y"), auth("app", "z:w"));
        let file = CredentialFile::parse(&format!(
            r#"{{"auths": {{
                "https://index.docker.io/v1/": {{"auth": "{hub}"}},
                "r.example": {{"auth": "{host}"}}, "r.example/team": {{"auth": "{team}"}},
                "r.example/team/app": {{"auth": "{app}"}},
                "https://old.example/v1/": {{"username": "old", "password": "o"}},
                "token.example": {{"auth": "{host}", "identitytoken": "t"}},
                "empty.example": {{}}
            }}, "HttpHeaders": {{"X": "y"}}}}"#
        ))
        .unwrap();
        for (registry, path, expected) in [
            ("docker.io", "library/alpine", vec![basic("hub", "h")]),
            ("registry-1.docker.io", "library/alpine", vec![basic("hub", "h")]),
            ("r.example", "team/app", vec![basic("app", "z:w"), basic("team", "y"), basic("host", "x")]),
            ("r.example", "team/other", vec![basic("team", "y"), basic("host", "x")]),
            ("r.example", "teams", vec![basic("host", "x")]),
            ("r.example:443", "team/app", vec![]),
            ("old.example", "a", vec![basic("old", "o")]),
            ("token.example", "a", vec![Source::Here(Credential::IdentityToken("t".into()))]),
            ("empty.example", "a", vec![]),
            ("evil-r.example", "team", vec![]),
        ] {
            assert_eq!(file.sources(registry, path), expected, "{registry}/{path}");
        }
    }

    #[test]
    fn programs_keep_what_the_file_gives_them() {
        let file = CredentialFile::parse(&format!(
            r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}, "credsStore": "all",
                "credHelpers": {{"b.example": "one", "c.example/team": "two", "docker.io": "hub"}}}}"#,
            auth("a", "b")
        ))
        .unwrap();
        let program = |name: &str, server: &str| Source::Program { name: name.into(), server: server.into() };
        for (registry, path, expected) in [
            ("a.example", "x", vec![program("all", "a.example"), basic("a", "b")]),
            ("b.example", "x", vec![program("one", "b.example")]),
            ("c.example", "team/x", vec![program("two", "c.example/team"), program("all", "c.example")]),
            ("docker.io", "library/x", vec![program("hub", DOCKER_HUB_KEY)]),
        ] {
            assert_eq!(file.sources(registry, path), expected, "{registry}/{path}");
        }
        assert_eq!((file.program("b.example"), file.program("other")), (Some("one"), Some("all")));
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (text, words) in [
            ("[\"hunter2\"]", "not a JSON object"),
            ("{\n\"auths\": {\"a\": {\"auth\": \"hunter2\"\n", "line 3 is not JSON"),
            ("{\"auths\": [\"hunter2\"]}", "`auths` is not an object"),
            ("{\"auths\": {\"a\": \"hunter2\"}}", "`auths` of `a` is not an object"),
            ("{\"auths\": {\"a\": {\"auth\": \"hunter2!\"}}}", "`auths` of `a`: `auth` is not base64"),
            ("{\"auths\": {\"a\": {\"auth\": \"aHVudGVyMg==\"}}}", "`auth` is not base64 of `user:secret`"),
            ("{\"auths\": {\"u:hunter2@a\": {\"auth\": 3}}}", "`auths` of `a`: `auth` is not a string"),
            ("{\"credHelpers\": {\"a\": 3}}", "`credHelpers` of `a` is not a string"),
            ("{\"credsStore\": {\"hunter2\": 1}}", "`credsStore` is not a string"),
            (&"[".repeat(100_000), "line 1 is not JSON"),
        ] {
            let error = CredentialFile::parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
        for text in ["", " \n", "{}", "null-free".get(..0).unwrap_or_default(), "{\"auths\": null}"] {
            assert_eq!(CredentialFile::parse(text), Ok(CredentialFile::default()), "{text}");
        }
        let file = CredentialFile::parse(&format!("{{\"auths\":{{\"a\":{{\"auth\":\"{}\"}}}}}}", auth("u", "hunter2")));
        assert!(!format!("{file:?} {:?}", file.as_ref().unwrap().sources("a", "b")).contains("hunter2"));
    }
}
