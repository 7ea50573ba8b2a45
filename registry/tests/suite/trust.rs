//! TLS: authorities of one's own, certificates that nobody vouches for, and plain HTTP where it was not meant.

use std::sync::Arc;

use mica_engine::registry::Registry as _;
use mica_engine::{Kind, Reference};
use mica_registry::credential::Anonymous;
use mica_registry::endpoint::Defaults;
use mica_registry::{HttpRegistry, Verify};

use super::certificates::{self, Certificates};
use super::client::{At, Bytes, anonymous, layer, noise, patience, upload};
use super::nginx::Nginx;
use super::registry::Server;

/// A registry that only speaks TLS, and its certificates.
fn server(folder: &std::path::Path) -> Option<(Server, Nginx, Certificates)> {
    let made = certificates::make(folder);
    let server = Server::start()?;
    let nginx = Nginx::start(&format!(
        "server {{ listen 127.0.0.1:PORT ssl; ssl_certificate {}; ssl_certificate_key {}; client_max_body_size 0;\n\
         location / {{ proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https; }} }}",
        made.certificate.display(),
        made.key.display(),
        server.port
    ))?;
    Some((server, nginx, made))
}

#[tokio::test]
async fn privileged_certificates_are_checked_against_the_authorities_one_has() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, nginx, made)) = server(folder.path()) else { return };
    let name = Reference::parse(&format!("127.0.0.1:{}/a:1", nginx.port)).unwrap();
    let address = format!("https://127.0.0.1:{}", nginx.port);
    let with = |verify: Verify| {
        HttpRegistry::with_patience(Arc::new(At::one(address.clone(), verify)), Arc::new(Anonymous), patience())
    };
    let blob = noise(20_000_000);
    let ours = with(Verify::Authorities(vec![made.authority.clone()]));
    upload(&ours, &name, &blob).await;
    for registry in [ours, with(Verify::Insecure)] {
        let mut sink = Bytes::default();
        registry.fetch_blob(&name, &layer(&blob), 7..19_000_000, &mut sink).await.unwrap();
        assert!(sink.0 == blob[7..19_000_000]);
    }
    // Where plain HTTP would do too, a certificate that nobody vouches for is no reason to use it.
    for registry in [with(Verify::default()), HttpRegistry::new(Arc::new(Defaults), Arc::new(Anonymous))] {
        let error = registry.manifest(&name).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("ca.crt")), "{error:?}");
    }
    assert!(!nginx.seen().iter().any(|line| line.contains("/manifests/")), "it was asked all the same");
    let broken = with(Verify::Authorities(vec![made.key])).manifest(&name).await.unwrap_err();
    assert_eq!(broken.kind(), Kind::InvalidInput, "{broken}");
}

#[tokio::test]
async fn privileged_a_certificate_for_another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, nginx, made)) = server(folder.path()) else { return };
    let name = Reference::parse(&format!("localhost:{}/a:1", nginx.port)).unwrap();
    let directory = At::one(format!("https://localhost:{}", nginx.port), Verify::Authorities(vec![made.authority]));
    let registry = HttpRegistry::with_patience(Arc::new(directory), Arc::new(Anonymous), patience());
    let error = registry.manifest(&name).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn privileged_what_speaks_no_tls_says_so() {
    let Some(server) = Server::start() else { return };
    let name = server.reference("a:1");
    // On this machine it is spoken to without.
    assert_eq!(anonymous().manifest(&name).await.unwrap_err().kind(), Kind::NotFound);
    let directory = At::one(format!("https://127.0.0.1:{}", server.port), Verify::default());
    let registry = HttpRegistry::with_patience(Arc::new(directory), Arc::new(Anonymous), patience());
    let error = registry.manifest(&name).await.unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("does not speak TLS")), "{error:?}");
}
