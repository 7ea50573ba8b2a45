//! What `save` writes of an image, blob by blob, each once and verified on the way.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek as _};

use mica_layer::{Compression, Decoder, DiffId, Digest, Packing, pack};
use serde_json::Value;

use super::LayerBlob;
use crate::layout::{Naming, Writer, hashed};
use crate::manifest::Descriptor;
use crate::store::Store;
use crate::{Error, Kind, Result};

/// What is being written.
#[derive(Debug)]
pub(super) struct Blobs<'a> {
    store: &'a Store,
    out: Box<dyn Writer>,
    pub(super) naming: Naming,
    /// Sizes of the blobs that are in it.
    written: HashMap<Digest, u64>,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(store: &'a Store, mut out: Box<dyn Writer>, naming: Naming) -> Result<Self> {
        if naming == Naming::Oci {
            out.folder("blobs")?;
            out.folder("blobs/sha256")?;
        }
        Ok(Self { store, out, naming, written: HashMap::new() })
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// Writes a blob as the store has it; returns its size.
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
        let failed = |source| Error::Layer { operation: "decompress", layer: blob.to_string(), source };
        let mut decoder = Decoder::new(self.store.open_blob(blob)?).map_err(failed)?;
        let size =
            std::io::copy(&mut decoder, spool.file()).map_err(Error::io("decompress", self.store.blob_path(blob)))?;
        spool.file().rewind().map_err(Error::io("rewind", spool.path()))?;
        let plain = spool.file().try_clone().map_err(Error::io("reopen", spool.path()))?;
        self.verified(&diff_id.0, plain, size)
    }

    /// Writes a layer compressed: as it is stored where it is compressed there, else by gzip.
    pub(super) fn packed_layer(&mut self, layer: &LayerBlob) -> Result<LayerBlob> {
        if self.compression(&layer.blob)? != Compression::None {
            self.blob(&layer.blob)?;
            return Ok(layer.clone());
        }
        let mut spool = self.store.ingest()?;
        let path = spool.path().to_owned();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let packed = pack(&mut self.store.open_blob(&layer.blob)?, Packing::default(), threads, spool.file());
        let packed =
            packed.map_err(|source| Error::Layer { operation: "compress", layer: layer.blob.to_string(), source })?;
        spool.file().rewind().map_err(Error::io("rewind", &path))?;
        let file = spool.file().try_clone().map_err(Error::io("reopen", &path))?;
        let (blob, size) = (packed.digest, packed.size);
        self.verified(&blob, file, size)?;
        Ok(LayerBlob { diff_id: layer.diff_id.clone(), blob, size })
    }

    /// How a blob of the store is compressed, by its content.
    pub(super) fn compression(&self, blob: &Digest) -> Result<Compression> {
        let mut first = Vec::new();
        let file = self.store.open_blob(blob)?;
        file.take(16).read_to_end(&mut first).map_err(Error::io("read", self.store.blob_path(blob)))?;
        Ok(Compression::detect(&first).unwrap_or(Compression::None))
    }

    /// Writes a manifest, an index or a config that is at hand.
    pub(super) fn document(&mut self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        if self.written.insert(descriptor.digest.clone(), descriptor.size).is_some() {
            return Ok(());
        }
        let name = self.naming.blob(&descriptor.digest);
        self.out.member(&name, descriptor.size, &mut &bytes[..])
    }

    /// Writes a member of its own.
    pub(super) fn member(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.out.member(name, bytes.len() as u64, &mut &bytes[..])
    }

    /// Writes a JSON member.
    pub(super) fn json(&mut self, name: &str, value: &Value) -> Result<()> {
        self.member(name, value.to_string().as_bytes())
    }

    /// Ends it.
    pub(super) fn finish(self) -> Result<()> {
        self.out.finish()
    }

    fn verified(&mut self, digest: &Digest, file: File, size: u64) -> Result<u64> {
        if self.written.insert(digest.clone(), size).is_some() {
            return Ok(size);
        }
        let name = self.naming.blob(digest);
        match hashed(&mut *self.out, &name, (digest, size), file) {
            Err(error) if error.kind() == Kind::Corrupt => Err(error.with_hint("loading the image again mends it")),
            done => done.map(|()| size),
        }
    }
}
