//! The archive `save` writes: a tar in which each blob stands once.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};

use mica_layer::{Compression, Decoder, DiffId, Digest, Hasher};
use serde_json::Value;

use crate::store::Store;
use crate::{Error, Kind, Result};

/// Where a blob stands in an OCI layout.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// An archive that is being written.
pub(super) struct Archive<'a> {
    store: &'a Store,
    tar: tar::Builder<Box<dyn Write + Send>>,
    /// Sizes of the blobs that are in it.
    written: HashMap<Digest, u64>,
}

impl fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("written", &self.written).finish_non_exhaustive()
    }
}

impl<'a> Archive<'a> {
    pub(super) fn new(store: &'a Store, sink: Box<dyn Write + Send>) -> Result<Self> {
        let mut archive = Self { store, tar: tar::Builder::new(sink), written: HashMap::new() };
        for directory in ["blobs/", "blobs/sha256/"] {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            archive.tar.append_data(&mut header, directory, std::io::empty()).map_err(written)?;
        }
        Ok(archive)
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// Writes a blob as the store has it, verifying it on the way; returns its size.
    pub(super) fn blob(&mut self, digest: &Digest) -> Result<u64> {
        let file = self.store.open_blob(digest)?;
        let size = file.metadata().map_err(Error::io("stat", self.store.blob_path(digest)))?.len();
        self.verified(digest, file, size)
    }

    /// Writes a layer without compression, named by its diff ID; returns its size.
    pub(super) fn plain_layer(&mut self, blob: &Digest, diff_id: &DiffId) -> Result<u64> {
        if let Some(size) = self.written.get(&diff_id.0) {
            return Ok(*size);
        }
        if *blob == diff_id.0 {
            return self.blob(blob);
        }
        // A tar header needs the size first, and a compressed blob does not tell it.
        let mut spool = self.store.ingest()?;
        let decoder = Decoder::new(self.store.open_blob(blob)?).map_err(undecodable(blob))?;
        let size = std::io::copy(&mut { decoder }, spool.file()).map_err(|source| Error::Io {
            operation: "decompress",
            path: self.store.blob_path(blob),
            source,
        })?;
        spool.file().rewind().map_err(Error::io("rewind", spool.path()))?;
        let plain = spool.file().try_clone().map_err(Error::io("reopen", spool.path()))?;
        self.verified(&diff_id.0, plain, size)
    }

    /// Writes a document; returns its size.
    pub(super) fn document(&mut self, digest: &Digest, bytes: &[u8]) -> Result<u64> {
        let size = bytes.len() as u64;
        if self.written.insert(digest.clone(), size).is_none() {
            self.member(&blob_path(digest), bytes)?;
        }
        Ok(size)
    }

    /// Writes a JSON member.
    pub(super) fn json(&mut self, name: &str, value: &Value) -> Result<()> {
        self.member(name, value.to_string().as_bytes())
    }

    /// The suffix of a layer's media type, by its content.
    pub(super) fn suffix(&self, blob: &Digest) -> Result<&'static str> {
        let mut first = [0u8; 16];
        let mut taken = Vec::new();
        self.store
            .open_blob(blob)?
            .take(first.len() as u64)
            .read_to_end(&mut taken)
            .map_err(Error::io("read", self.store.blob_path(blob)))?;
        first[..taken.len()].copy_from_slice(&taken);
        Ok(match Compression::detect(&first[..taken.len()]) {
            Ok(Compression::Gzip) => "+gzip",
            Ok(Compression::Zstd) => "+zstd",
            _ => "",
        })
    }

    /// Ends the archive and hands all of it to the sink.
    pub(super) fn finish(self) -> Result<()> {
        let mut sink = self.tar.into_inner().map_err(written)?;
        sink.flush().map_err(written)
    }

    fn verified(&mut self, digest: &Digest, file: File, size: u64) -> Result<u64> {
        if self.written.insert(digest.clone(), size).is_some() {
            return Ok(size);
        }
        let mut content = Hashing { inner: file, hasher: Hasher::with(digest.algorithm()) };
        let mut header = header(tar::EntryType::Regular, 0o644, size);
        self.tar.append_data(&mut header, blob_path(digest), &mut content).map_err(written)?;
        if content.hasher.finish() != *digest {
            return Err(Error::refused(
                Kind::Corrupt,
                format!("blob `{digest}` is damaged: its bytes have another digest"),
            )
            .with_hint("loading the image again mends it"));
        }
        Ok(size)
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
        self.tar.append_data(&mut header, name, bytes).map_err(written)
    }
}

/// A header that depends on nothing but its arguments, so that one image always makes the same archive.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn written(source: std::io::Error) -> Error {
    Error::Io { operation: "write", path: "the archive".into(), source }
}

fn undecodable(blob: &Digest) -> impl FnOnce(mica_layer::Error) -> Error {
    let layer = blob.to_string();
    move |source| Error::Layer { operation: "decompress", layer, source }
}

struct Hashing {
    inner: File,
    hasher: Hasher,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
