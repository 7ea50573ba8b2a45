//! Bytes of a zstd:chunked layer that layers of images here have too, put in their place before anything is fetched.
//!
//! Whatever goes wrong here costs a download and nothing else, so it is told to who debugs and to nobody else.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::{Bytes, Work};
use crate::download::{Partial, Position, Table};
use crate::manifest::{Descriptor, Manifest};
use crate::store::remote;
use crate::{Engine, Error, Result};

/// Tables of so many layers are looked at; those of the same repository first, then the youngest.
const LAYERS: usize = 8;
/// Of so many images.
const IMAGES: usize = 16;
/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// Fills what it can; true when there was something.
pub(super) fn fill(engine: &Engine, work: &Work, partials: &[Arc<Partial>]) -> bool {
    let chunked = |partial: &&Arc<Partial>| Position::of(&partial.blob).is_some() && !partial.gaps().is_empty();
    let wanted: Vec<&Arc<Partial>> = partials.iter().filter(chunked).collect();
    if wanted.is_empty() || !engine.options().registry.serves_ranges(&work.reference) {
        return false;
    }
    let filled = known(engine, &work.origin.repository).and_then(|known| {
        let mut filled = 0;
        for partial in wanted.iter().filter(|_| !known.is_empty()) {
            filled += fill_one(engine, work, partial, &known)?;
        }
        Ok(filled)
    });
    match filled {
        Ok(bytes) => bytes > 0,
        Err(error) => {
            tracing::debug!(%error, "cannot use what is here of a layer");
            // Some of it may be in place.
            true
        }
    }
}

/// Layers that are here and have a table, with it.
fn known(engine: &Engine, repository: &str) -> Result<Vec<(std::fs::File, Table)>> {
    let store = engine.store();
    let mut known = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for manifest in store.read(|db| remote::manifests_near(db, repository, IMAGES))? {
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&store.read_document(&manifest)?) else { continue };
        for layer in &manifest.layers {
            let Some(position) = Position::of(layer) else { continue };
            if known.len() == LAYERS || !seen.insert(layer.digest.clone()) {
                continue;
            }
            // A layer that came by other bytes has no blob of this name.
            let Ok(file) = store.open_blob(&layer.digest) else { continue };
            let mut bytes = vec![0; usize::try_from(position.range.end - position.range.start).unwrap_or_default()];
            let read = file.read_exact_at(&mut bytes, position.range.start);
            known.extend(read.ok().and_then(|()| position.read(&bytes)).map(|table| (file, table)));
        }
    }
    Ok(known)
}

fn fill_one(engine: &Engine, work: &Work, partial: &Partial, known: &[(std::fs::File, Table)]) -> Result<u64> {
    let Some(table) = table_of(engine, work, &partial.blob, partial)? else { return Ok(0) };
    let name = work.reference.familiar();
    let mut filled = 0;
    for (file, other) in known {
        for shared in table.shared_with(other) {
            if shared.at.end > partial.blob.size {
                continue;
            }
            let length = shared.at.end - shared.at.start;
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(PIECE).min(PIECE)];
            for done in (0..length).step_by(PIECE) {
                let piece = usize::try_from(length - done).unwrap_or(PIECE).min(PIECE);
                let piece = &mut bytes[..piece];
                file.read_exact_at(piece, shared.from + done).map_err(Error::io("read a blob for", &name))?;
                partial.write(shared.at.start + done, piece)?;
            }
            filled += length;
        }
        if partial.gaps().iter().map(|gap| gap.end - gap.start).sum::<u64>() * 10 < partial.blob.size {
            break;
        }
    }
    tracing::debug!(layer = %partial.blob.digest, bytes = filled, "taken from layers that are here");
    Ok(filled)
}

/// Fetches the table of a layer, whose bytes are the layer's too.
fn table_of(engine: &Engine, work: &Work, blob: &Descriptor, partial: &Partial) -> Result<Option<Table>> {
    let Some(position) = Position::of(blob) else { return Ok(None) };
    let mut bytes = Bytes(Vec::new());
    let range = position.range.clone();
    work.runtime.block_on(engine.options().registry.fetch_blob(&work.reference, blob, range, &mut bytes))?;
    partial.write(position.range.start, &bytes.0)?;
    Ok(position.read(&bytes.0))
}
