//! Where registries keep signatures of cosign's: a manifest whose layers are the signed payloads, under a tag that is made of
//! the signed digest, or among what refers to it (OCI distribution-spec 1.1).

use mica_engine::manifest::{Contents, Descriptor};
use mica_engine::registry::{BlobSink, Registry};
use mica_engine::{Kind, Reference, Result};
use mica_layer::{Digest, Hasher};

/// The media type of a signed payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What a manifest with signatures calls itself where it refers to what it signs.
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Where a payload's signature stands, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The most bytes of a payload; usual ones have some hundred.
const PAYLOAD_MAX: u64 = 1 << 20;
/// The most manifests that refer to one which are looked at.
const REFERRERS_MAX: usize = 16;

/// The payloads under the tag of a digest.
pub(super) async fn tagged(registry: &dyn Registry, image: &Reference, digest: &Digest) -> Result<Vec<Descriptor>> {
    let name = format!("{}:{}-{}.sig", image.repository(), digest.algorithm().name(), digest.hex());
    payloads(registry, &Reference::parse(&name)?).await
}

/// The payloads of what refers to a digest.
pub(super) async fn referring(registry: &dyn Registry, image: &Reference, digest: &Digest) -> Result<Vec<Descriptor>> {
    let at = |digest: &Digest| Reference::parse(&format!("{}@{digest}", image.repository()));
    let mut found = Vec::new();
    for manifest in registry.referrers(&at(digest)?, Some(ARTIFACT)).await?.iter().take(REFERRERS_MAX) {
        found.extend(payloads(registry, &at(&manifest.digest)?).await?);
    }
    Ok(found)
}

/// The payloads that a manifest lists; none where there is no such manifest.
async fn payloads(registry: &dyn Registry, name: &Reference) -> Result<Vec<Descriptor>> {
    let document = match registry.manifest(name).await {
        Err(error) if error.kind() == Kind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    match document.read()? {
        Contents::Manifest(manifest) => {
            Ok(manifest.layers.into_iter().filter(|layer| layer.media_type == PAYLOAD).collect())
        }
        Contents::Index(_) => Ok(Vec::new()),
    }
}

/// The signature of a payload, as its manifest has it.
pub(super) fn signature(layer: &Descriptor) -> Option<&str> {
    layer.annotations.get(SIGNATURE).map(String::as_str)
}

/// A payload's bytes; `None` for one that is too large or is not what its manifest says.
pub(super) async fn payload(registry: &dyn Registry, image: &Reference, layer: &Descriptor) -> Result<Option<Vec<u8>>> {
    if layer.size > PAYLOAD_MAX {
        return Ok(None);
    }
    let mut bytes = Bytes(Vec::new());
    registry.fetch_blob(image, layer, 0..layer.size, &mut bytes).await?;
    let mut hasher = Hasher::with(layer.digest.algorithm());
    hasher.update(&bytes.0);
    Ok((hasher.finish() == layer.digest).then_some(bytes.0))
}

struct Bytes(Vec<u8>);

impl BlobSink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
