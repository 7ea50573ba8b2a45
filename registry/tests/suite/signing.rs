//! Who asks: users of a registry's own file, and tokens that a server gives out and the registry verifies.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use mica_engine::Kind;
use mica_engine::registry::Registry as _;
use mica_registry::credential::Anonymous;
use mica_registry::endpoint::Defaults;
use mica_registry::{Credential, HttpRegistry, LoginOutcome};
use serde_json::{Value, json};

use super::client::{Bytes, anonymous, as_user, layer, noise, patience, upload};
use super::registry::{Server, tool, users};
use super::script::{Asked, Script, reply};

fn basic(user: &str, secret: &str) -> Credential {
    Credential::Basic { user: user.to_owned(), secret: secret.to_owned() }
}

#[tokio::test]
async fn privileged_users_of_a_registry_are_let_in_and_others_are_not() {
    let Some(server) = Server::with(|folder| users(folder, "me", "hidden")) else { return };
    let name = server.reference("a:1");
    let blob = noise(1_000_000);
    let registry = as_user(Defaults, "me", "hidden");
    upload(&registry, &name, &blob).await;
    let mut sink = Bytes::default();
    registry.fetch_blob(&name, &layer(&blob), 0..1_000_000, &mut sink).await.unwrap();
    assert!(sink.0 == blob);
    for stranger in [anonymous(), as_user(Defaults, "me", "wrong-secret"), as_user(Defaults, "you", "hidden")] {
        let error = stranger.fetch_blob(&name, &layer(&blob), 0..10, &mut Bytes::default()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(!format!("{error:?}").contains("wrong-secret"), "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("mica login 127.0.0.1:")), "{error:?}");
    }
    let domain = name.domain();
    let accepted = registry.check_login(domain, &basic("me", "hidden")).await.unwrap();
    assert_eq!(accepted, LoginOutcome::Accepted);
    assert_eq!(registry.check_login(domain, &basic("me", "no")).await.unwrap_err().kind(), Kind::Denied);
}

/// A server of tokens that a real registry trusts.
struct Tokens {
    folder: PathBuf,
    /// How many it gave out.
    given: AtomicUsize,
    /// How many requests it fails first.
    failing: usize,
}

impl Tokens {
    /// Makes its key in a folder.
    fn new(folder: &Path, failing: usize) -> Tokens {
        let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tokens -keyout token.key -out token.crt";
        tool(Command::new("openssl").args(request.split(' ')).current_dir(folder));
        Tokens { folder: folder.to_owned(), given: AtomicUsize::new(0), failing }
    }

    /// Its answer: a token for what this user may do, which is to read everything and write below `mine/`.
    fn answer(&self, asked: &Asked) -> Vec<u8> {
        if asked.number < self.failing {
            return reply("503 Service Unavailable", "", b"");
        }
        let user = asked.header("authorization").and_then(|value| {
            let text = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
            Some(String::from_utf8(text).unwrap())
        });
        if user.as_deref().is_some_and(|user| user != "me:hidden") {
            return reply("401 Unauthorized", "", br#"{"details":"incorrect username or password"}"#);
        }
        let query = asked.path.split_once('?').map_or("", |(_, query)| query);
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert!(pairs.contains(&("service".to_owned(), "test".to_owned())), "{query}");
        let scopes = pairs.iter().filter(|(name, _)| name == "scope").filter_map(|(_, scope)| {
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let may = |action: &&str| *action == "pull" || (user.is_some() && name.starts_with("mine/"));
            let actions: Vec<&str> = actions.split(',').filter(may).collect();
            Some(json!({ "type": kind, "name": name, "actions": actions }))
        });
        let token = self.sign(&scopes.collect::<Vec<_>>());
        self.given.fetch_add(1, Ordering::Relaxed);
        reply("200 OK", "", json!({ "token": token, "expires_in": 300 }).to_string().as_bytes())
    }

    fn sign(&self, access: &[Value]) -> String {
        let run = |args: &[&str]| tool(Command::new("openssl").args(args).current_dir(&self.folder));
        let certificate = STANDARD.encode(run(&["x509", "-in", "token.crt", "-outform", "DER"]));
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [certificate] });
        let now = Timestamp::now().as_second();
        let claims = json!({
            "iss": "issuer", "sub": "me", "aud": "test", "iat": now, "nbf": now - 10, "exp": now + 300,
            "jti": "1", "access": access,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let file = tempfile::NamedTempFile::new_in(&self.folder).unwrap();
        fs_err::write(file.path(), &signed).unwrap();
        let signature = run(&["dgst", "-sha256", "-sign", "token.key", file.path().to_str().unwrap()]);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A registry that wants tokens, and who gives them out.
fn with_tokens(folder: &Path, failing: usize) -> Option<(Server, Script, Arc<Tokens>)> {
    let tokens = Arc::new(Tokens::new(folder, failing));
    let own = Arc::clone(&tokens);
    let script = Script::start(move |asked| own.answer(asked));
    let server = Server::with(|_| {
        format!(
            "auth:\n  token: {{ realm: \"http://127.0.0.1:{}/token\", service: test, issuer: issuer, rootcertbundle: {} }}\n",
            script.port,
            folder.join("token.crt").display()
        )
    })?;
    Some((server, script, tokens))
}

#[tokio::test]
async fn privileged_tokens_are_fetched_once_for_each_repository_and_scope() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, _script, tokens)) = with_tokens(folder.path(), 0) else { return };
    let name = server.reference("mine/a:1");
    let blob = noise(1_000_000);
    let registry = as_user(Defaults, "me", "hidden");
    let digest = upload(&registry, &name, &blob).await;
    assert_eq!(tokens.given.load(Ordering::Relaxed), 1, "to write");
    for reader in [as_user(Defaults, "me", "hidden"), anonymous()] {
        for range in [0..1_000_000, 10..500_000] {
            let mut sink = Bytes::default();
            reader.fetch_blob(&name, &layer(&blob), range.clone(), &mut sink).await.unwrap();
            assert!(sink.0 == blob[range.start as usize..range.end as usize]);
        }
    }
    assert_eq!(tokens.given.load(Ordering::Relaxed), 3, "one more for each client that reads");
    // From one repository into another, which takes a token for both.
    let (mine, other) = (server.reference("mine/a"), server.reference("mine/b"));
    assert!(registry.mount_blob(&other, &digest, &mine).await.unwrap());

    let foreign = server.reference("theirs/a");
    let refused = |error: mica_engine::Error| assert_eq!(error.kind(), Kind::Denied, "{error}");
    refused(registry.begin_upload(&foreign).await.err().unwrap());
    refused(anonymous().begin_upload(&server.reference("mine/a")).await.err().unwrap());
    let wrong = as_user(Defaults, "me", "wrong-secret").manifest(&mine).await.unwrap_err();
    assert!(wrong.kind() == Kind::Denied && wrong.to_string().contains("incorrect username or password"), "{wrong}");
    let domain = mine.domain();
    assert!(registry.check_login(domain, &basic("me", "hidden")).await.is_ok());
    assert_eq!(registry.check_login(domain, &basic("me", "no")).await.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn privileged_a_server_of_tokens_that_fails_for_a_moment_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, script, tokens)) = with_tokens(folder.path(), 2) else { return };
    let error = anonymous().manifest(&server.reference("a")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert_eq!((script.asked().len(), tokens.given.load(Ordering::Relaxed)), (3, 1));
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_replaced() {
    let tokens = Script::start(|asked| {
        let token = format!(r#"{{"token":"number-{}","expires_in":3600}}"#, asked.number);
        reply("200 OK", "", token.as_bytes())
    });
    let wanted = format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{}/t\",service=\"s\"", tokens.port);
    let script = Script::start(move |asked| {
        // The first token is good for two requests.
        let good = if asked.number < 3 { "Bearer number-0" } else { "Bearer number-1" };
        match asked.header("authorization") {
            Some(token) if token == good => reply("200 OK", "", br#"{"name":"a","tags":["t"]}"#),
            _ => reply("401 Unauthorized", &wanted, b""),
        }
    });
    let registry = HttpRegistry::with_patience(Arc::new(Defaults), Arc::new(Anonymous), patience());
    for _ in 0..4 {
        assert_eq!(registry.tags(&script.reference("a")).await.unwrap(), ["t"]);
    }
    assert_eq!(tokens.asked().len(), 2);
    assert_eq!(script.asked().len(), 6, "two of them were refused");
}

#[tokio::test]
async fn a_server_that_takes_no_token_is_not_asked_for_ever() {
    let tokens = Script::start(|_| reply("200 OK", "", br#"{"access_token":"a"}"#));
    let wanted = format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{}/t\"", tokens.port);
    let script = Script::start(move |_| reply("401 Unauthorized", &wanted, b""));
    let error = anonymous().tags(&script.reference("a")).await.unwrap_err();
    assert_eq!((error.kind(), script.asked().len()), (Kind::Denied, 2), "{error}");
    for body in [&b"<html>"[..], b"{}", br#"{"token":""}"#, br#"{"token":"a\u0000b"}"#] {
        let tokens = Script::start(move |_| reply("200 OK", "", body));
        let wanted = format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{}/t\"", tokens.port);
        let script = Script::start(move |_| reply("401 Unauthorized", &wanted, b""));
        assert!(anonymous().tags(&script.reference("a")).await.is_err(), "{}", String::from_utf8_lossy(body));
    }
}
