//! `image copy`: an image from one place to another without a store: registries, layouts, archives.
//!
//! Source → document → manifests that are wanted → blobs → documents, the named one last. Blobs stream through in pieces and
//! are verified on the way; what the target has does not move. Documents are copied byte for byte, so digests stay, except
//! into Docker's archives, which hold none. Each kind of place is a file that knows nothing of the others.

mod blobs;
mod docker_archive;
mod ends;
mod layout;
mod place;
mod registry;
mod tar_target;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use mica_layer::Digest;

use crate::manifest::{Contents, Descriptor, Document};
use crate::ops::pull::{Chosen, Platforms, Unseen, choose};
use crate::registry::Registry;
use crate::{Error, Kind, LayerBounds, Result};
use ends::{Source, Target};
pub use place::Place;

/// How deep indexes may be nested.
const DEPTH_MAX: usize = 4;
/// How many documents one name may stand for.
const DOCUMENTS_MAX: usize = 1000;
/// And how many bytes they may have together.
const BYTES_MAX: usize = 64 << 20;

/// What is copied where.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// Where the image is.
    pub source: Place,
    /// Where it goes.
    pub target: Place,
    /// Which images of an index; `All` copies the index itself, and everything that it lists.
    pub platforms: Platforms,
    /// Surroundings.
    pub means: Means,
}

/// What a copy works with.
#[derive(Debug, Clone)]
pub struct Means {
    /// What talks to registries.
    pub registry: Arc<dyn Registry>,
    /// A folder for nameless files, where an archive cannot be read or written in place.
    pub scratch: PathBuf,
    /// How far archives may expand.
    pub bounds: LayerBounds,
    /// What the modes of new files lack.
    pub umask: u32,
}

/// What a copy reports while it goes on.
pub trait CopyProgress: Send + Sync + std::fmt::Debug {
    /// A blob is at a new point.
    fn blob(&self, digest: &Digest, state: BlobState);
}

impl CopyProgress for Unseen {
    fn blob(&self, _digest: &Digest, _state: BlobState) {}
}

/// Where a blob is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// It is wanted.
    Waiting,
    /// The target has it.
    Exists,
    /// So many bytes of so many have been written.
    Copying {
        /// Bytes that are there.
        done: u64,
        /// Bytes there are.
        total: u64,
    },
    /// It is there.
    Copied,
}

/// Copies an image; what comes back is the digest of the document that its new name stands for at the source.
pub async fn copy_image(request: CopyRequest, progress: Arc<dyn CopyProgress>) -> Result<Digest> {
    let CopyRequest { source, target, platforms, means } = request;
    let source: Arc<dyn Source> = Arc::from(source.open(&means, &target)?);
    let named = source.named().await?;
    let wanted = match &platforms {
        Platforms::All => everything(&*source, named).await?,
        one => only(&*source, &named, one).await?,
    };
    if let Some(digest) = target.digest().filter(|digest| **digest != wanted.named.digest) {
        let message = format!("the target is pinned to `{digest}`, and what is copied is `{}`", wanted.named.digest);
        return Err(Error::refused(Kind::InvalidInput, message).with_hint("name a tag instead of a digest"));
    }
    let target: Arc<dyn Target> = Arc::from(target.create(&means)?);
    target.check(&wanted.named)?;
    let blobs = wanted.blobs.into_iter().map(|blob| (blob.digest.clone(), blob)).collect::<Vec<_>>();
    let mut seen = BTreeSet::new();
    let blobs = blobs.into_iter().filter(|(digest, _)| seen.insert(digest.clone())).map(|(_, blob)| blob).collect();
    blobs::copy(&source, &target, blobs, &progress).await?;
    for document in &wanted.listed {
        target.listed(document).await?;
    }
    target.finish(&wanted.named).await?;
    Ok(wanted.named.digest)
}

/// What is copied.
struct Wanted {
    /// What the name will stand for.
    named: Document,
    /// What that lists, each after what it lists itself.
    listed: Vec<Arc<Document>>,
    blobs: Vec<Descriptor>,
}

/// One image.
async fn only(source: &dyn Source, named: &Document, platforms: &Platforms) -> Result<Wanted> {
    let chosen: Option<Chosen> = choose(source, named, platforms).await?.into_iter().next();
    let chosen = chosen.ok_or_else(|| Error::refused(Kind::NotFound, format!("`{}` has no image", source.called())))?;
    source.admit(&chosen.chain).await?;
    let blobs = chosen.manifest.layers.iter().chain([&chosen.manifest.config]).cloned().collect();
    Ok(Wanted { named: chosen.document().clone(), listed: Vec::new(), blobs })
}

/// A document and everything below it.
async fn everything(source: &dyn Source, named: Document) -> Result<Wanted> {
    let mut wanted = Wanted { named: named.clone(), listed: Vec::new(), blobs: Vec::new() };
    let (mut documents, mut bytes) = (0, 0);
    let mut todo = vec![vec![Arc::new(named)]];
    while let Some(chain) = todo.pop() {
        let Some(document) = chain.last() else { continue };
        match document.read()? {
            Contents::Manifest(manifest) => {
                let chain: Vec<Document> = chain.iter().map(|document| (**document).clone()).collect();
                source.admit(&chain).await?;
                wanted.blobs.extend(manifest.layers);
                wanted.blobs.push(manifest.config);
            }
            Contents::Index(_) if chain.len() > DEPTH_MAX => {
                let message = format!("indexes of `{}` are nested more than {DEPTH_MAX} deep", source.called());
                return Err(Error::refused(Kind::InvalidInput, message));
            }
            Contents::Index(index) => {
                for entry in index.manifests.iter().rev() {
                    let next = source.listed(entry).await?;
                    documents += 1;
                    bytes += next.bytes.len();
                    if documents > DOCUMENTS_MAX || bytes > BYTES_MAX {
                        let message = format!(
                            "`{}` stands for more than {DOCUMENTS_MAX} documents or {BYTES_MAX} bytes of them",
                            source.called()
                        );
                        return Err(Error::refused(Kind::InvalidInput, message));
                    }
                    todo.push(chain.iter().cloned().chain([Arc::new(next)]).collect());
                }
            }
        }
        if chain.len() > 1 {
            wanted.listed.push(Arc::clone(document));
        }
    }
    // A registry takes an index when it has what the index lists.
    wanted.listed.reverse();
    Ok(wanted)
}
