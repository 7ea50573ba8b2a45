//! Blobs by digest, and the way in: `content/ingest/<id>`, verified, then one rename.
//!
//! A blob without a row is garbage, so a blob may be put in place at any time by anyone; the row comes later.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mica_layer::{Digest, Hasher};
use mica_storage_api::sys;
use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;

use super::{Store, fresh_id};
use crate::download::is_awaited;
use crate::manifest::DOCUMENT_MAX;
use crate::{Error, Kind, Result};

/// Bytes on their way into the store. Dropped before [`Ingest::finish`], they are gone; after a crash, the free flock on
/// the file tells the next sweep that nobody will finish it.
#[derive(Debug)]
pub(crate) struct Ingest {
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Ingest {
    /// The file, to write and read.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is while it is on its way.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the disk have the bytes, for the flush that comes in the end ([`Store::flush_blobs`]). Blocks.
    pub(crate) fn write_back(&self) -> Result<()> {
        sys::write_back(self.file.as_fd()).map_err(|errno| Error::io("flush", &self.path)(errno.into()))
    }

    /// Puts the bytes in place as the blob `digest`. The caller has computed the digest of what it wrote.
    pub(crate) fn finish(mut self, store: &Store, digest: &Digest) -> Result<()> {
        let place = store.blob_path(digest);
        if let Some(parent) = place.parent() {
            super::private_directory(parent)?;
        }
        fs_err::rename(&self.path, &place).map_err(Error::io("rename", &self.path))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

impl Store {
    /// Where a blob is, or would be.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("content/blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Opens a blob for reading.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        std::fs::OpenOptions::new().read(true).open(&path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                return Error::refused(Kind::Corrupt, format!("blob `{digest}` is missing from the store"))
                    .with_hint("`mica system check --repair` finds what is damaged; loading the image again mends it");
            }
            Error::io("open", path)(error)
        })
    }

    /// Reads a manifest or config and verifies its digest.
    pub(crate) fn read_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let file = self.open_blob(digest)?;
        let size = file.metadata().map_or(0, |found| found.len().min(DOCUMENT_MAX));
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", self.blob_path(digest)))?;
        let mut hasher = Hasher::with(digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() != *digest {
            return Err(Error::refused(
                Kind::Corrupt,
                format!("blob `{digest}` is damaged: its bytes have another digest"),
            )
            .with_hint("loading the image again mends it"));
        }
        Ok(bytes)
    }

    /// Begins to take in bytes.
    pub(crate) fn ingest(&self) -> Result<Ingest> {
        loop {
            let path = self.root().join("content/ingest").join(fresh_id());
            let fail = Error::io("create", &path);
            let mut options = std::fs::OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(fail)?;
            match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
                // A collection that saw the file before it was locked takes it for garbage.
                Err(Errno::WOULDBLOCK) => continue,
                locked => locked.map_err(|errno| Error::io("lock", &path)(errno.into()))?,
            }
            if fstat(&file).map_err(|errno| Error::io("stat", &path)(errno.into()))?.st_nlink > 0 {
                return Ok(Ingest { path, file, placed: false });
            }
        }
    }

    /// Takes away files on their way in that nobody holds, and blobs on their way out. Downloads that were cut off stay for a
    /// while.
    pub(crate) fn collect_ingests(&self) -> Result<()> {
        self.collect_if(|path, found| !is_awaited(path, found))
    }

    /// Takes downloads away that nobody goes on with.
    pub(crate) fn collect_downloads(&self) -> Result<()> {
        self.collect_if(|_, _| true)
    }

    fn collect_if(&self, wanted: impl Fn(&Path, &std::fs::Metadata) -> bool) -> Result<()> {
        let directory = self.root().join("content/ingest");
        for name in super::names_in(&directory)? {
            let path = directory.join(name);
            let Ok(file) = fs_err::File::open(&path) else { continue };
            if !file.metadata().is_ok_and(|found| wanted(&path, &found)) {
                continue;
            }
            if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = fs_err::remove_file(&path);
            }
        }
        Ok(())
    }

    /// Brings blobs and their names to the disk. What was written back while it came in costs little more: the first flush
    /// commits the journal, with what was recorded of all of them.
    pub(crate) fn flush_blobs(&self, blobs: &[Digest]) -> Result<()> {
        let mut directories = std::collections::BTreeSet::new();
        // The youngest first, whose bytes may still be on their way: whatever comes after them finds the journal committed.
        for digest in blobs.iter().rev() {
            let path = self.blob_path(digest);
            fs_err::File::open(&path).and_then(|file| file.sync_data()).map_err(Error::io("flush", &path))?;
            directories.extend(path.parent().map(Path::to_owned));
        }
        directories.iter().try_for_each(|directory| super::flush_directory(directory))
    }

    /// Stores a manifest or config.
    pub(crate) fn write_document(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        let mut ingest = self.ingest()?;
        ingest.file().write_all(bytes).map_err(Error::io("write", ingest.path()))?;
        ingest.finish(self, &digest)?;
        Ok(digest)
    }

    /// Hides a blob whose row is gone, in constant time, among the files that nobody will finish. A missing one is no error.
    pub(crate) fn put_blob_aside(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        match fs_err::rename(&path, self.root().join("content/ingest").join(fresh_id())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("put aside", path)(error)),
            _ => Ok(()),
        }
    }

    /// Takes blobs away whose rows are gone. A missing one is no error.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_collection_takes_nothing_that_is_on_its_way() {
        let directory = tempfile::tempdir().unwrap();
        let run_root = directory.path().join("run");
        let store = Store::open(&directory.path().join("root"), &run_root, crate::Durability::None).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        store.collect_ingests().unwrap();
                    }
                });
            }
            let written = (0..2_000_u32).try_for_each(|number| store.write_document(&number.to_ne_bytes()).map(drop));
            done.store(true, Ordering::SeqCst);
            written.unwrap();
        });
        let last = Digest::sha256_of(&1_999_u32.to_ne_bytes());
        assert_eq!(store.read_document(&last).unwrap(), 1_999_u32.to_ne_bytes());
    }
}
