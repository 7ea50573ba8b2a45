//! Redirects: followed where that is safe, without credentials, and not for ever.

use mica_engine::registry::Registry as _;
use mica_engine::{Kind, Reference};
use mica_registry::Verify;
use mica_registry::endpoint::Defaults;

use super::certificates;
use super::client::{At, Bytes, anonymous, as_user, layer, noise, upload};
use super::nginx::Nginx;
use super::registry::{Server, users};
use super::script::{Script, part, reply};

#[tokio::test]
async fn credentials_stay_with_the_host_they_are_for() {
    let blob = noise(10_000);
    let sent = blob.clone();
    let elsewhere = Script::start(move |asked| part(asked, &sent));
    let there = format!("Location: http://127.0.0.1:{}/signed?token=hidden", elsewhere.port);
    let script = Script::start(move |asked| match asked.header("authorization") {
        None => reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"", b""),
        Some(_) => reply("307 Temporary Redirect", &there, b""),
    });
    let registry = as_user(Defaults, "me", "hidden");
    for range in [0..10_000, 10..20] {
        let mut sink = Bytes::default();
        registry.fetch_blob(&script.reference("a"), &layer(&blob), range.clone(), &mut sink).await.unwrap();
        assert!(sink.0 == blob[range.start as usize..range.end as usize]);
    }
    let shown = script.asked().iter().filter(|asked| asked.header("authorization").is_some()).count();
    assert_eq!((script.asked().len(), shown), (3, 2), "the first request finds out what the server wants");
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.header("authorization").is_none() && asked.header("referer").is_none()));
    assert_eq!(asked[1].header("range").as_deref(), Some("bytes=10-19"), "a range follows a redirect");
}

#[tokio::test]
async fn another_hosts_wish_for_credentials_is_not_met() {
    let elsewhere = Script::start(|_| reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"mine\"", b""));
    let there = format!("Location: http://127.0.0.1:{}/blob", elsewhere.port);
    let script = Script::start(move |_| reply("302 Found", &there, b""));
    let error = as_user(Defaults, "me", "hidden")
        .fetch_blob(&script.reference("a"), &layer(b"blob"), 0..4, &mut Bytes::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization").is_none()));
    assert!(!error.to_string().contains("hidden"), "{error}");
}

#[tokio::test]
async fn redirects_without_an_end_or_an_aim_are_refused() {
    for (title, location, most) in [
        ("to itself", "Location: /v2/a/manifests/latest", 11),
        ("in a circle", "Location: /again", 11),
        ("nowhere", "", 1),
        ("to a file", "Location: file:///etc/passwd", 1),
        ("to nothing at all", "Location: http://", 1),
    ] {
        let script = Script::start(move |_| reply("302 Found", location, b""));
        let error = anonymous().manifest(&script.reference("a")).await.unwrap_err();
        assert_eq!((error.kind(), script.asked().len()), (Kind::Corrupt, most), "{title}: {error}");
    }
}

#[tokio::test]
async fn privileged_nothing_leads_from_tls_to_plain_http() {
    let folder = tempfile::tempdir().unwrap();
    let made = certificates::make(folder.path());
    let plain = Script::start(|_| reply("200 OK", "", b"blob"));
    let Some(nginx) = Nginx::start(&format!(
        "server {{ listen 127.0.0.1:PORT ssl; ssl_certificate {}; ssl_certificate_key {}; return 307 http://127.0.0.1:{}/blob; }}",
        made.certificate.display(),
        made.key.display(),
        plain.port
    )) else {
        return;
    };
    let name = Reference::parse(&format!("127.0.0.1:{}/a", nginx.port)).unwrap();
    let directory =
        At::one(format!("https://127.0.0.1:{}", nginx.port), Verify::Authorities(vec![made.authority.clone()]));
    let error = as_user(directory, "me", "hidden")
        .fetch_blob(&name, &layer(b"blob"), 0..4, &mut Bytes::default())
        .await
        .unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("a redirect to `http`"), "{error}");
    assert_eq!(plain.asked().len(), 0, "it was followed");
}

#[tokio::test]
async fn privileged_blobs_come_from_where_nginx_sends_their_readers() {
    // The registry is asked for everything but blobs, which are read from another address, as from a cloud's storage.
    let Some(server) = Server::with(|folder| users(folder, "me", "hidden")) else { return };
    let name = server.reference("a:1");
    let registry = as_user(Defaults, "me", "hidden");
    let blob = noise(3_000_000);
    upload(&registry, &name, &blob).await;
    let data = server.path("data/docker/registry/v2/blobs/sha256");
    let Some(storage) = Nginx::start(&format!(
        "server {{ listen 127.0.0.1:PORT; location ~ /sha256:(..)(.*)$ {{ if ($http_authorization) {{ return 400; }} alias {}/$1/$1$2/data; }} }}",
        data.display()
    )) else {
        return;
    };
    let Some(front) = Nginx::start(&format!(
        "server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host; }}\n\
         location ~ ^/v2/.*/blobs/(sha256:.*)$ {{ return 307 http://127.0.0.1:{}/$1; }} }}",
        server.port, storage.port
    )) else {
        return;
    };
    let through = Reference::parse(&format!("127.0.0.1:{}/a:1", front.port)).unwrap();
    // The registry wants a signature, and gets it with every request from here on.
    let _ = registry.tags(&through).await;
    let mut sink = Bytes::default();
    registry.fetch_blob(&through, &layer(&blob), 5..2_000_000, &mut sink).await.unwrap();
    assert!(sink.0 == blob[5..2_000_000]);
    front.seen_when(|seen| seen.iter().any(|line| line.starts_with("307 GET") && line.contains("authorization=Basic")));
    let seen = storage.seen_when(|seen| !seen.is_empty());
    assert!(seen.len() == 1 && seen[0].starts_with("206 GET") && seen[0].ends_with("authorization=-"), "{seen:#?}");
}
