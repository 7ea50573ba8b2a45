//! Clients with a short patience, and what they are given: credentials, servers, places for bytes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mica_engine::manifest::{Descriptor, OCI_LAYER};
use mica_engine::registry::{BlobSink, Registry as _};
use mica_engine::{Reference, Result};
use mica_layer::Digest;
use mica_registry::credential::Anonymous;
use mica_registry::endpoint::{Defaults, base};
use mica_registry::{Credential, Credentials, Directory, Endpoint, HttpRegistry, Patience, Verify};

/// Pauses of a moment, so that tests that fail five times take no time.
pub fn patience() -> Patience {
    Patience {
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_secs(5),
        stall: Duration::from_secs(20),
        ..Patience::default()
    }
}

/// A client without credentials.
pub fn anonymous() -> HttpRegistry {
    HttpRegistry::with_patience(Arc::new(Defaults), Arc::new(Anonymous), patience())
}

/// A client with a user's secret.
pub fn as_user(directory: impl Directory + 'static, user: &str, secret: &str) -> HttpRegistry {
    let user = User(Credential::Basic { user: user.to_owned(), secret: secret.to_owned() });
    HttpRegistry::with_patience(Arc::new(directory), Arc::new(user), patience())
}

/// The same credential for every registry: what it is shown to is the client's care.
#[derive(Debug)]
struct User(Credential);

#[async_trait]
impl Credentials for User {
    async fn for_repository(&self, _registry: &str, _path: &str) -> Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

/// Servers at fixed addresses, copies first.
#[derive(Debug)]
pub struct At {
    pub servers: Vec<String>,
    pub verify: Verify,
}

impl At {
    /// One server that is trusted like this.
    pub fn one(address: String, verify: Verify) -> At {
        At { servers: vec![address], verify }
    }
}

impl Directory for At {
    fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let last = self.servers.len() - 1;
        let endpoint = |(index, address): (usize, &String)| -> Result<Endpoint> {
            let of = Endpoint::of(reference, "https")?;
            Ok(Endpoint { base: base(address)?, verify: self.verify.clone(), mirror: index < last, ..of })
        };
        self.servers.iter().enumerate().map(endpoint).collect()
    }
}

/// Keeps bytes.
#[derive(Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl BlobSink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes that do not repeat soon.
pub fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The descriptor of a layer.
pub fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::new(OCI_LAYER, Digest::sha256_of(bytes), bytes.len() as u64)
}

/// Uploads a blob by pieces.
pub async fn upload(registry: &HttpRegistry, repository: &Reference, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256_of(bytes);
    let mut upload = registry.begin_upload(repository).await.unwrap();
    for piece in bytes.chunks(1_000_003) {
        upload.write(piece).await.unwrap();
    }
    upload.finish(&digest).await.unwrap();
    digest
}
