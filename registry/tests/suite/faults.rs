//! Servers that are busy, break off, lie about ranges or send more than they said, and what the client makes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mica_engine::manifest::{DOCUMENT_MAX, OCI_MANIFEST};
use mica_engine::registry::Registry as _;
use mica_engine::{Kind, Result};
use mica_layer::Digest;
use mica_registry::credential::Anonymous;
use mica_registry::endpoint::Defaults;
use mica_registry::{HttpRegistry, Patience, Verify};

use super::client::{At, Bytes, anonymous, layer, noise, patience};
use super::nginx::Nginx;
use super::registry::Server;
use super::script::{Asked, Script, announced, cut_part, part, reply};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

fn manifest() -> Vec<u8> {
    reply("200 OK", &format!("Content-Type: {OCI_MANIFEST}"), MANIFEST)
}

/// Fetches a range of a blob from a scripted server.
async fn fetch(
    blob: &[u8],
    range: std::ops::Range<u64>,
    answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
) -> (Result<()>, Vec<u8>, Script) {
    let script = Script::start(answer);
    let mut sink = Bytes::default();
    let fetched = anonymous().fetch_blob(&script.reference("a/b"), &layer(blob), range, &mut sink).await;
    (fetched, sink.0, script)
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_when_it_wants_to_be() {
    let script = Script::start(|asked| match asked.number {
        0 => reply("429 Too Many Requests", "Retry-After: 1", b""),
        _ => manifest(),
    });
    // Its own pauses would be longer than any test waits.
    let patience =
        Patience { pause: Duration::from_secs(3600), longest_pause: Duration::from_secs(7200), ..patience() };
    let registry = HttpRegistry::with_patience(Arc::new(Defaults), Arc::new(Anonymous), patience);
    let begun = Instant::now();
    assert_eq!(registry.manifest(&script.reference("a")).await.unwrap().bytes, MANIFEST);
    assert!(begun.elapsed() >= Duration::from_secs(1), "it was to be asked after a second");
    assert_eq!(script.asked().len(), 2);

    let script = Script::start(|_| reply("503 Service Unavailable", "Retry-After: 86400", b""));
    let error = anonymous().manifest(&script.reference("a")).await.unwrap_err();
    assert!(error.kind() == Kind::Unavailable && error.to_string().contains("86400 seconds"), "{error}");
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (status, asked_again) in [
        ("500 Internal Server Error", true),
        ("502 Bad Gateway", true),
        ("503 Service Unavailable", true),
        ("504 Gateway Timeout", true),
        ("408 Request Timeout", true),
        ("429 Too Many Requests", true),
        ("400 Bad Request", false),
        ("403 Forbidden", false),
        ("404 Not Found", false),
        ("501 Not Implemented", false),
    ] {
        let script = Script::start(move |asked| if asked.number < 2 { reply(status, "", b"") } else { manifest() });
        let found = anonymous().manifest(&script.reference("a")).await;
        assert_eq!((found.is_ok(), script.asked().len()), (asked_again, if asked_again { 3 } else { 1 }), "{status}");

        let script = Script::start(move |_| reply(status, "", b""));
        let error = anonymous().manifest(&script.reference("a")).await.unwrap_err();
        let tries = if asked_again { patience().attempts as usize } else { 1 };
        assert_eq!(script.asked().len(), tries, "{status}");
        assert_eq!(error.kind() == Kind::Unavailable, asked_again || status.starts_with('5'), "{error}");
    }
}

#[tokio::test]
async fn a_blob_goes_on_where_the_connection_broke() {
    let blob = noise(1_000_000);
    for range in [0..1_000_000, 1000..900_000] {
        let sent = blob.clone();
        // Each connection carries a third of a million bytes.
        let (fetched, bytes, script) = fetch(&blob, range.clone(), move |asked| cut_part(asked, &sent, 333_333)).await;
        fetched.unwrap();
        assert!(bytes == blob[range.start as usize..range.end as usize]);
        let ranges: Vec<Option<String>> = script.asked().iter().map(|asked| asked.header("range")).collect();
        let expected: Vec<Option<String>> = match range.start {
            0 => vec![
                None,
                Some("bytes=333333-999999".into()),
                Some("bytes=666666-999999".into()),
                Some("bytes=999999-999999".into()),
            ],
            _ => [1000, 334_333, 667_666].iter().map(|first| Some(format!("bytes={first}-899999"))).collect(),
        };
        assert_eq!(ranges, expected);
    }
}

#[tokio::test]
async fn a_connection_that_brings_nothing_is_not_tried_for_ever() {
    let blob = noise(1000);
    let sent = blob.clone();
    let (fetched, bytes, script) = fetch(&blob, 0..1000, move |asked| match asked.number {
        0 => cut_part(asked, &sent, 400),
        _ => cut_part(asked, &sent, 0),
    })
    .await;
    let error = fetched.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(bytes == blob[..400]);
    assert_eq!(script.asked().len(), patience().attempts as usize);
}

#[tokio::test]
async fn a_server_without_ranges_sends_the_whole_and_the_range_is_taken_from_it() {
    let blob = noise(100_000);
    for range in [0..100_000, 0..10, 500..600, 99_990..100_000, 50_000..100_000] {
        let sent = blob.clone();
        let (fetched, bytes, script) = fetch(&blob, range.clone(), move |_| reply("200 OK", "", &sent)).await;
        fetched.unwrap();
        assert!(bytes == blob[range.start as usize..range.end as usize], "{range:?}");
        assert_eq!(script.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_remembered() {
    let blob = noise(1000);
    for (ranges, answer) in [(true, part as fn(&Asked, &[u8]) -> Vec<u8>), (false, |_, blob| reply("200 OK", "", blob))]
    {
        let sent = blob.clone();
        let script = Script::start(move |asked| answer(asked, &sent));
        let (name, registry) = (script.reference("a"), anonymous());
        for range in [0..1000, 10..20] {
            assert!(registry.serves_ranges(&name));
            registry.fetch_blob(&name, &layer(&blob), range, &mut Bytes::default()).await.unwrap();
        }
        assert_eq!(registry.serves_ranges(&name), ranges);
    }
}

#[tokio::test]
async fn lies_about_a_blob_are_told_from_breaks() {
    let blob = noise(1000);
    let whole = blob.clone();
    let range = |text: &str| format!("Content-Range: {text}");
    let longer = [&blob[..], b"x"].concat();
    for (title, wanted, answer) in [
        ("another range", 100..200, announced("206 Partial Content", &range("bytes 0-99/1000"), 100, &whole[..100])),
        ("no word of the range", 100..200, announced("206 Partial Content", "", 100, &whole[..100])),
        (
            "a range that is none",
            100..200,
            announced("206 Partial Content", &range("bytes */1000"), 100, &whole[..100]),
        ),
        (
            "a part of a longer blob",
            100..200,
            announced("206 Partial Content", &range("bytes 100-199/2000"), 100, &whole[100..200]),
        ),
        (
            "more than the range",
            100..200,
            announced("206 Partial Content", &range("bytes 100-299/1000"), 200, &whole[100..300]),
        ),
        ("a longer blob", 0..1000, reply("200 OK", "", &longer)),
        (
            "a longer blob without its length",
            0..1000,
            [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &longer].concat(),
        ),
        ("a shorter blob", 0..1000, reply("200 OK", "", &whole[..999])),
        ("an end before the range", 500..1000, reply("416 Range Not Satisfiable", &range("bytes */400"), b"")),
    ] {
        let (fetched, bytes, script) = fetch(&blob, wanted.clone(), move |_| answer.clone()).await;
        let error = fetched.expect_err(title);
        assert_eq!(error.kind(), Kind::Corrupt, "{title}: {error}");
        assert!(error.to_string().contains("127.0.0.1:"), "{title}: {error}");
        assert_eq!(script.asked().len(), 1, "{title}");
        assert!(blob[wanted.start as usize..].starts_with(&bytes), "{title}: bytes that nobody asked for");
    }
}

#[tokio::test]
async fn compressed_answers_are_not_undone() {
    // A blob is bytes: what looks like an encoding of them is not taken off.
    let blob = noise(1000);
    let sent = blob.clone();
    let (fetched, bytes, script) =
        fetch(&blob, 0..1000, move |_| reply("200 OK", "Content-Encoding: gzip", &sent)).await;
    fetched.unwrap();
    assert!(bytes == blob);
    assert_eq!(script.asked()[0].header("accept-encoding").as_deref(), Some("identity"));
}

#[tokio::test]
async fn manifests_are_small_and_have_the_digest_they_are_asked_by() {
    let huge = Script::start(|_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\nConnection: close\r\n\r\n");
        [head.into_bytes(), vec![b' '; 64 << 20]].concat()
    });
    let error = anonymous().manifest(&huge.reference("a")).await.unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("more than 4194304 bytes"), "{error}");
    // What the kernel had on its way is lost; nothing is read on.
    assert!(huge.sent() < DOCUMENT_MAX + (24 << 20), "{}", huge.sent());

    let other = Digest::sha256_of(b"other");
    let script = Script::start(|_| manifest());
    let error = anonymous().manifest(&script.reference(&format!("a@{other}"))).await.unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains(other.as_str()), "{error}");
    let own = script.reference(&format!("a@{}", Digest::sha256_of(MANIFEST)));
    assert_eq!(anonymous().manifest(&own).await.unwrap().bytes, MANIFEST);

    let header = format!("Content-Type: {OCI_MANIFEST}\nDocker-Content-Digest: {other}");
    let script = Script::start(move |_| reply("200 OK", &header, MANIFEST));
    let error = anonymous().manifest(&script.reference("a")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");

    for body in [&b"<html>"[..], b"{}", b"", b"[]", br#"{"schemaVersion":2}"#] {
        let script = Script::start(move |_| reply("200 OK", &format!("Content-Type: {OCI_MANIFEST}"), body));
        let refused = anonymous().manifest(&script.reference("a")).await;
        assert!(refused.is_err(), "{}", String::from_utf8_lossy(body));
    }
}

#[tokio::test]
async fn a_manifest_that_is_cut_off_is_asked_for_again() {
    let script = Script::start(|asked| match asked.number {
        0 => announced("200 OK", &format!("Content-Type: {OCI_MANIFEST}"), MANIFEST.len(), &MANIFEST[..100]),
        _ => manifest(),
    });
    assert_eq!(anonymous().manifest(&script.reference("a")).await.unwrap().bytes, MANIFEST);
}

#[tokio::test]
async fn a_list_of_tags_without_an_end_is_given_up() {
    let script = Script::start(|asked| {
        let next = format!("Link: </v2/a/tags/list?last={}>; rel=\"next\"", asked.number);
        reply("200 OK", &next, br#"{"name":"a","tags":["t"]}"#)
    });
    let error = anonymous().tags(&script.reference("a")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(script.asked().len() <= 1000);
}

#[tokio::test]
async fn the_next_server_goes_on_where_a_copy_stopped() {
    let blob = noise(300_000);
    let (copy, own) = (blob.clone(), blob.clone());
    let copy = Script::start(move |asked| match asked.number {
        0 => cut_part(asked, &copy, 100_000),
        _ => reply("404 Not Found", "", b""),
    });
    let own = Script::start(move |asked| part(asked, &own));
    let servers = [&copy, &own].map(|script| format!("http://127.0.0.1:{}", script.port)).to_vec();
    let directory = At { servers, verify: Verify::default() };
    let registry = HttpRegistry::with_patience(Arc::new(directory), Arc::new(Anonymous), patience());
    let mut sink = Bytes::default();
    registry.fetch_blob(&own.reference("a"), &layer(&blob), 0..300_000, &mut sink).await.unwrap();
    assert!(sink.0 == blob);
    assert_eq!(own.asked()[0].header("range").as_deref(), Some("bytes=100000-299999"));
}

#[tokio::test]
async fn privileged_nginx_that_limits_requests_delays_and_fails_nothing() {
    let Some(server) = Server::start() else { return };
    let name = server.reference("a:1");
    let blob = noise(1_000_000);
    let digest = super::client::upload(&anonymous(), &name, &blob).await;
    // Two requests a second; what comes sooner is told to come later.
    let limits = "limit_req_zone $binary_remote_addr zone=one:1m rate=2r/s; limit_req_status 429;";
    let Some(nginx) = Nginx::start(&format!(
        "{limits}\nserver {{ listen 127.0.0.1:PORT; location / {{ limit_req zone=one; proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host; }} }}",
        server.port
    )) else {
        return;
    };
    let before = mica_engine::Reference::parse(&format!("127.0.0.1:{}/a:1", nginx.port)).unwrap();
    let patience = Patience { pause: Duration::from_millis(300), ..patience() };
    let registry = HttpRegistry::with_patience(Arc::new(Defaults), Arc::new(Anonymous), patience);
    for start in [0, 250_000, 500_000, 750_000] {
        let mut sink = Bytes::default();
        registry.fetch_blob(&before, &layer(&blob), start..start + 250_000, &mut sink).await.unwrap();
        assert!(sink.0 == blob[start as usize..start as usize + 250_000]);
    }
    let answered = |seen: &[String]| {
        seen.iter().filter(|line| line.starts_with("206 GET") && line.contains(digest.as_str())).count()
    };
    let seen = nginx.seen_when(|seen| answered(seen) == 4);
    assert!(seen.iter().any(|line| line.starts_with("429 GET")), "{seen:#?}");
}
