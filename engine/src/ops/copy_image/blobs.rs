//! Blobs on their way: in pieces, the next one read while the last one is written, and verified before they count.

use std::sync::Arc;

use mica_layer::Hasher;
use tokio::task::JoinSet;

use super::ends::{Source, Target};
use super::{BlobState, CopyProgress};
use crate::manifest::Descriptor;
use crate::{Error, Kind, Result};

/// How much is read at a time: enough that a request for it costs little, little enough for a few of them in memory.
const PIECE: u64 = 16 << 20;

/// Copies blobs, as many at once as the target takes.
pub(super) async fn copy(
    source: &Arc<dyn Source>,
    target: &Arc<dyn Target>,
    blobs: Vec<Descriptor>,
    progress: &Arc<dyn CopyProgress>,
) -> Result<()> {
    for blob in &blobs {
        progress.blob(&blob.digest, BlobState::Waiting);
    }
    let mut rest = blobs.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < target.at_once() {
            let Some(blob) = rest.next() else { break };
            let (source, target, progress) = (Arc::clone(source), Arc::clone(target), Arc::clone(progress));
            under_way.spawn(async move { one(&*source, &*target, &blob, &*progress).await });
        }
        // Dropping the set ends the others.
        match under_way.join_next().await {
            None => return Ok(()),
            Some(Ok(copied)) => copied?,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) => return Err(Error::refused(Kind::Unavailable, "the runtime is shutting down")),
        }
    }
}

async fn one(source: &dyn Source, target: &dyn Target, blob: &Descriptor, progress: &dyn CopyProgress) -> Result<()> {
    if target.has(blob, source.repository()).await? {
        progress.blob(&blob.digest, BlobState::Exists);
        return Ok(());
    }
    let total = blob.size;
    let mut hasher = Hasher::with(blob.digest.algorithm());
    let mut piece = source.read(blob, 0..total.min(PIECE)).await?;
    let mut upload = target.begin(blob).await?;
    let mut done = 0;
    loop {
        hasher.update(&piece);
        done += piece.len() as u64;
        if done >= total {
            upload.write(&piece).await?;
            break;
        }
        let (next, written) = tokio::join!(source.read(blob, done..total.min(done + PIECE)), upload.write(&piece));
        written?;
        piece = next?;
        progress.blob(&blob.digest, BlobState::Copying { done, total });
    }
    let found = hasher.finish();
    if found != blob.digest {
        let message = format!("blob `{}` of `{}` has the digest `{found}`", blob.digest, source.called());
        return Err(Error::refused(Kind::Corrupt, message));
    }
    upload.finish(&blob.digest).await?;
    progress.blob(&blob.digest, BlobState::Copied);
    Ok(())
}
