//! One layer from the store to the registry, packed on the way: threads compress while others send.

use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::sync::Arc;

use mica_layer::{Algorithm, Compression, Decoder, Digest, Packing, pack};
use tokio::sync::mpsc;

use super::layers::Inner;
use super::{PushProgress, PushState};
use crate::store::Store;
use crate::store::layers::LayerRow;
use crate::store::uploads::{Sending, UploadNote};
use crate::{Engine, Error, Kind, Result};

/// Pieces that may wait to be sent: as much as goes out at a time, so that compressing goes on meanwhile.
const PIECES: usize = 64;
/// The most bytes of a piece.
const PIECE: usize = 256 * 1024;

/// The most threads that compress one layer: no network takes more than they make, and each has buffers.
const THREADS_MAX: usize = 16;

/// What goes out of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The blob, as the store has it.
    Stored,
    /// The archive, packed.
    Packed(Packing),
}

/// What the registry got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// How a blob of the store is compressed.
pub(in crate::ops) fn stored_as(store: &Store, blob: &Digest) -> Result<Compression> {
    let mut first = Vec::new();
    let file = store.open_blob(blob)?;
    file.take(16).read_to_end(&mut first).map_err(Error::io("read", store.blob_path(blob)))?;
    Compression::detect(&first).map_err(|source| Error::Layer { operation: "read", layer: blob.to_string(), source })
}

impl Inner {
    /// The note of a layer's upload; nothing when another process sends it just now.
    pub(super) async fn note(&self, layer: &LayerRow, form: Form) -> Result<Option<UploadNote>> {
        let sending = Sending {
            repository: self.to.repository(),
            layer: layer.diff_id.clone(),
            form: match form {
                Form::Stored => layer.blob.to_string(),
                Form::Packed(packing) => packing.to_string(),
            },
        };
        self.engine.blocking(move |engine| engine.store().upload_note(sending)).await
    }

    /// Sends a layer, from where an earlier push has got to.
    pub(super) async fn send_layer(
        self: &Arc<Self>,
        layer: &LayerRow,
        form: Form,
        note: &mut Option<UploadNote>,
    ) -> Result<Sent> {
        let registry = &self.engine.options().registry;
        let resumed = match note.as_ref().and_then(UploadNote::place) {
            Some(place) => registry.resume_upload(&self.to, place).await?,
            None => None,
        };
        let (mut upload, reached) = match resumed {
            Some(resumed) => resumed,
            None => (registry.begin_upload(&self.to).await?, 0),
        };
        if reached > 0 {
            tracing::debug!(layer = layer.diff_id.0.as_str(), reached, "going on with an upload");
        }
        let (pieces, mut coming) = mpsc::channel(PIECES);
        let packer = {
            let (layer, progress) = (layer.clone(), Arc::clone(&self.progress));
            let work = move |engine: &Engine| packed(engine, &layer, (form, reached), &progress, pieces);
            let engine = self.engine.clone();
            tokio::spawn(async move { engine.blocking(work).await })
        };
        let sending = async {
            // What is packed is packed from its beginning, because only so its digest is found out; a blob is read from there.
            let mut there = if form == Form::Stored { 0 } else { reached };
            while let Some(piece) = coming.recv().await {
                let piece: Vec<u8> = piece;
                let skipped = there.min(piece.len() as u64);
                there -= skipped;
                upload.write(&piece[usize::try_from(skipped).unwrap_or(piece.len())..]).await?;
                if let (Some(note), Some(place)) = (note.as_mut(), upload.place()) {
                    note.write(place)?;
                }
            }
            if there > 0 {
                return Err(Error::refused(Kind::Corrupt, "the registry has more of a layer than there is"));
            }
            Ok(upload)
        };
        let sent = sending.await;
        // The packer gives up when nobody takes its pieces, and does not know why.
        drop(coming);
        match (sent, packer.await) {
            (_, Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::refused(Kind::Unavailable, "the runtime is shutting down")),
            },
            (Err(error), Ok(_)) | (Ok(_), Ok(Err(error))) => Err(error),
            (Ok(upload), Ok(Ok(packed))) => {
                // A blob goes under the digest that manifests know it by, whatever its algorithm.
                let digest = if form == Form::Stored { layer.blob.clone() } else { packed.digest };
                upload.finish(&digest).await?;
                Ok(Sent { digest, size: packed.size })
            }
        }
    }
}

/// Reads, verifies and packs a layer. Of a blob of which so many bytes are there, only the rest; then its digest is verified by
/// the registry alone. Blocks.
fn packed(
    engine: &Engine,
    layer: &LayerRow,
    (form, reached): (Form, u64),
    progress: &Arc<dyn PushProgress>,
    pieces: mpsc::Sender<Vec<u8>>,
) -> Result<mica_layer::Packed> {
    let store = engine.store();
    let fail = |source| Error::Layer { operation: "pack", layer: layer.diff_id.0.to_string(), source };
    let mut file = Watched { file: store.open_blob(&layer.blob)?, layer, done: 0, progress };
    let first = if form == Form::Stored { reached } else { 0 };
    if first > layer.blob_size {
        return Err(Error::refused(Kind::Corrupt, "the registry has more of a layer than there is"));
    }
    if first > 0 {
        file.done = file.file.seek(SeekFrom::Start(first)).map_err(Error::io("read", store.blob_path(&layer.blob)))?;
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX);
    let mut sink = Pieces { pieces, bytes: Vec::with_capacity(PIECE) };
    let (packed, expected) = match form {
        Form::Stored => (pack(&mut { file }, Packing::None, threads, &mut sink), &layer.blob),
        Form::Packed(packing) => {
            let mut plain = Decoder::new(file).map_err(fail)?;
            (pack(&mut plain, packing, threads, &mut sink), &layer.diff_id.0)
        }
    };
    let packed = packed.map_err(fail)?;
    if first > 0 {
        return Ok(mica_layer::Packed { size: packed.size + first, ..packed });
    }
    if expected.algorithm() == Algorithm::Sha256 && packed.diff_id.0 != *expected {
        let message = format!("blob `{}` is damaged: its bytes have another digest", layer.blob);
        return Err(Error::refused(Kind::Corrupt, message).with_hint("pulling or loading the image again mends it"));
    }
    Ok(packed)
}

/// A blob that tells how far it has been read.
struct Watched<'a> {
    file: std::fs::File,
    layer: &'a LayerRow,
    done: u64,
    progress: &'a Arc<dyn PushProgress>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        let state = PushState::Pushing { done: self.done, total: self.layer.blob_size };
        self.progress.layer(&self.layer.diff_id, state);
        Ok(count)
    }
}

/// Hands packed bytes to whoever sends them.
struct Pieces {
    pieces: mpsc::Sender<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Pieces {
    fn hand_over(&mut self) -> io::Result<()> {
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(PIECE));
        self.pieces.blocking_send(bytes).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        if self.bytes.len() == PIECE {
            self.hand_over()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { self.hand_over() }
    }
}
