//! What goes up to a real registry comes down again.

use mica_engine::Kind;
use mica_engine::manifest::{Descriptor, Document, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use mica_engine::registry::Registry as _;
use mica_layer::Digest;
use mica_registry::HttpRegistry;
use serde_json::json;

use super::client::{Bytes, noise, upload};
use super::registry::Server;

#[tokio::test]
async fn privileged_what_goes_up_comes_down() {
    let Some(server) = Server::start() else { return };
    let registry = HttpRegistry::default();
    let name = server.reference("a/b:v1");
    assert_eq!(registry.look_up(&name).await.unwrap(), None);
    assert_eq!(registry.manifest(&name).await.unwrap_err().kind(), Kind::NotFound);

    // Several chunks and a rest.
    let layer = noise(40_000_000);
    let digest = upload(&registry, &name, &layer).await;
    let config = upload(&registry, &name, b"{}").await;
    assert!(registry.has_blob(&name, &digest).await.unwrap());
    assert!(!registry.has_blob(&name, &Digest::sha256_of(b"other")).await.unwrap());

    let blob = Descriptor::new(OCI_LAYER, digest.clone(), layer.len() as u64);
    for range in [0..blob.size, 0..1, 17_000_000..17_000_100, blob.size - 5..blob.size, blob.size - 5..blob.size + 5] {
        let mut sink = Bytes(Vec::new());
        registry.fetch_blob(&name, &blob, range.clone(), &mut sink).await.unwrap();
        let expected = &layer[range.start as usize..(range.end as usize).min(layer.len())];
        assert!(sink.0 == expected, "{range:?}");
    }
    let absent = Descriptor::new(OCI_LAYER, Digest::sha256_of(b"other"), 5);
    let error = registry.fetch_blob(&name, &absent, 0..5, &mut Bytes(Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let short = Descriptor { size: blob.size - 1, ..blob.clone() };
    let error = registry.fetch_blob(&name, &short, 0..short.size, &mut Bytes(Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");

    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor::new(OCI_CONFIG, config, 2),
        "layers": [blob],
    });
    let document = Document::new(OCI_MANIFEST, manifest.to_string().into_bytes());
    registry.push_manifest(&name, &document).await.unwrap();
    assert_eq!(registry.manifest(&name).await.unwrap(), document);
    assert_eq!(registry.look_up(&name).await.unwrap(), Some(document.descriptor()));
    let pinned = server.reference(&format!("a/b@{}", document.digest));
    assert_eq!(registry.manifest(&pinned).await.unwrap(), document);
    assert_eq!(registry.tags(&name).await.unwrap(), ["v1"]);

    let other = server.reference("c");
    assert!(registry.mount_blob(&other, &digest, &name).await.unwrap());
    assert!(registry.has_blob(&other, &digest).await.unwrap());
    assert!(!registry.mount_blob(&other, &Digest::sha256_of(b"other"), &name).await.unwrap());
    assert_eq!(registry.referrers(&pinned, None).await.unwrap(), []);
}
