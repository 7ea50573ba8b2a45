//! From what a name stands for to the manifests that are wanted: through indexes, by platform.

use async_trait::async_trait;

use crate::manifest::{Contents, Descriptor, Document, Manifest};
use crate::ops::pull::Platforms;
use crate::registry::Registry;
use crate::{Error, Kind, Platform, Reference, Result};

/// How deep indexes may be nested.
const DEPTH_MAX: usize = 4;
/// How many manifests of an index are pulled at most.
const MANIFESTS_MAX: usize = 100;

/// A manifest that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// As the index has it.
    pub(crate) platform: Option<Platform>,
    pub(crate) manifest: Manifest,
    /// From what the name stands for down to the manifest.
    pub(crate) chain: Vec<Document>,
}

impl Chosen {
    /// The manifest with its bytes.
    pub(crate) fn document(&self) -> &Document {
        self.chain.last().expect("a chain ends with its manifest")
    }
}

/// Where documents come from that an index lists.
#[async_trait]
pub(crate) trait Documents: Send + Sync {
    /// What messages call it.
    fn called(&self) -> String;

    /// Gets what an index lists, and holds it to its descriptor.
    async fn listed(&self, entry: &Descriptor) -> Result<Document>;
}

/// A repository of a registry.
pub(crate) struct FromRegistry<'a> {
    pub(crate) registry: &'a dyn Registry,
    pub(crate) reference: &'a Reference,
}

#[async_trait]
impl Documents for FromRegistry<'_> {
    fn called(&self) -> String {
        self.reference.familiar()
    }

    async fn listed(&self, entry: &Descriptor) -> Result<Document> {
        let pinned = Reference::parse(&format!("{}@{}", self.reference.repository(), entry.digest))?;
        let document = self.registry.manifest(&pinned).await?;
        if document.media_type != entry.media_type || document.bytes.len() as u64 != entry.size {
            let message = format!("manifest `{}` is not what the index of `{}` says", entry.digest, self.called());
            return Err(Error::refused(Kind::Corrupt, message));
        }
        Ok(document)
    }
}

/// The manifests behind a document.
pub(crate) async fn choose<D: Documents + ?Sized>(
    from: &D,
    named: &Document,
    wanted: &Platforms,
) -> Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    let mut todo = vec![(None, vec![named.clone()])];
    while let Some((platform, chain)) = todo.pop() {
        let Some(document) = chain.last() else { continue };
        match document.read()? {
            Contents::Manifest(manifest) => chosen.push(Chosen { platform, manifest: *manifest, chain }),
            Contents::Index(_) if chain.len() > DEPTH_MAX => {
                let message = format!("indexes of `{}` are nested more than {DEPTH_MAX} deep", from.called());
                return Err(Error::refused(Kind::InvalidInput, message));
            }
            Contents::Index(index) => {
                let entries = entries(&index.manifests, wanted);
                if entries.is_empty() {
                    return Err(none(&from.called(), &index.manifests, wanted));
                }
                if chosen.len() + todo.len() + entries.len() > MANIFESTS_MAX {
                    let message = format!("`{}` lists more than {MANIFESTS_MAX} images", from.called());
                    return Err(Error::refused(Kind::InvalidInput, message));
                }
                // The first one is to come first.
                for entry in entries.into_iter().rev() {
                    let next = from.listed(entry).await?;
                    let platform = entry.platform.clone().or_else(|| platform.clone());
                    todo.push((platform, chain.iter().cloned().chain([next]).collect()));
                }
            }
        }
    }
    Ok(chosen)
}

/// The entries of an index that are wanted, in its order. Among equals the first one counts.
fn entries<'a>(manifests: &'a [Descriptor], wanted: &Platforms) -> Vec<&'a Descriptor> {
    let images = manifests.iter().filter(|entry| is_image(entry));
    let best = |platform: &Platform| {
        let ranked = images.clone().filter_map(|entry| Some((platform.rank(entry.platform.as_ref()?)?, entry)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    };
    match wanted {
        Platforms::All => images.collect(),
        Platforms::One(platform) => best(platform).into_iter().collect(),
        Platforms::Native => {
            let only =
                || if manifests.len() == 1 { images.clone().find(|entry| entry.platform.is_none()) } else { None };
            best(&Platform::host()).or_else(only).into_iter().collect()
        }
    }
}

/// False for attestations, which stand in indexes beside the images they speak of, for a platform that is none, and for
/// artifacts.
pub(crate) fn is_image(entry: &Descriptor) -> bool {
    let unknown = entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !unknown && entry.artifact_type.is_none()
}

fn none(called: &str, manifests: &[Descriptor], wanted: &Platforms) -> Error {
    let platform = match wanted {
        Platforms::One(platform) => platform.clone(),
        _ => Platform::host(),
    };
    let mut offered: Vec<String> = manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref().map(|platform| platform.normalized().to_string()))
        .collect();
    offered.retain(|platform| !platform.starts_with("unknown/"));
    offered.dedup();
    offered.truncate(20);
    let offered: String = offered.join(", ").chars().flat_map(char::escape_debug).collect();
    let message = format!("no matching manifest for {platform} in the manifest list entries of `{called}`");
    let error = Error::refused(Kind::NotFound, message);
    if offered.is_empty() {
        error
    } else {
        error.with_hint(format!("there are images for {offered}: name one with `--platform`"))
    }
}
