//! The members of an archive or a folder: found by name, read and copied, never extracted.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use mica_layer::Digest;

use super::headers::{self, Member};
use super::{Folder, Naming};
use crate::manifest::DOCUMENT_MAX;
use crate::store::Store;
use crate::store::content::Ingest;
use crate::{Error, Kind, Result};

/// How many links in a row are followed in an archive.
const LINKS_MAX: usize = 8;
/// The most bytes of documents together: a thousand images have a tenth of this.
const DOCUMENTS_MAX: u64 = 256 << 20;

/// An archive or a folder, and what it holds.
#[derive(Debug)]
pub(crate) struct Members {
    place: Place,
    /// What its blobs are called.
    pub(crate) naming: Naming,
    /// Bytes of documents that have been read.
    read: AtomicU64,
}

#[derive(Debug)]
enum Place {
    Archive { file: File, by_name: HashMap<String, Member> },
    Folder(Folder),
}

/// Where the bytes of one member are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    place: Offset,
    /// How many there are.
    pub(crate) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Offset {
    /// From here on in the archive.
    At(u64),
    /// The whole file of this name in the folder.
    File(String),
}

impl Members {
    /// Reads all headers of an archive.
    pub(crate) fn of_archive(file: File) -> Result<Members> {
        let by_name = headers::read(&file)?;
        Ok(Members::at(Place::Archive { file, by_name }))
    }

    /// Opens a folder.
    pub(crate) fn of_folder(path: &Path) -> Result<Members> {
        Ok(Members::at(Place::Folder(Folder::open(path)?)))
    }

    fn at(place: Place) -> Members {
        Members { place, naming: Naming::Oci, read: AtomicU64::new(0) }
    }

    /// What messages call it.
    fn called(&self) -> String {
        match &self.place {
            Place::Archive { .. } => "the archive".to_owned(),
            Place::Folder(folder) => format!("`{}`", folder.path().display()),
        }
    }

    /// True when there is such a member, whatever it is.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match &self.place {
            Place::Archive { by_name, .. } => by_name.contains_key(name),
            Place::Folder(folder) => !matches!(folder.find(name), Ok(None)),
        }
    }

    /// Finds a member's bytes.
    pub(crate) fn find(&self, name: &str) -> Result<Extent> {
        let shown = || name.chars().take(200).flat_map(char::escape_debug).collect::<String>();
        let called = || self.called();
        let mut wanted =
            headers::clean("", name).ok_or_else(|| refused(format!("`{}` is not the name of a member", shown())))?;
        let (by_name, missing) = match &self.place {
            Place::Folder(folder) => {
                let file =
                    folder.find(&wanted)?.ok_or_else(|| refused(format!("{} has no `{}`", called(), shown())))?;
                let size = file.metadata().map_err(Error::io("stat", folder.path().join(name)))?.len();
                return Ok(Extent { place: Offset::File(wanted), size });
            }
            Place::Archive { by_name, .. } => (by_name, || refused(format!("the archive has no member `{}`", shown()))),
        };
        for _ in 0..LINKS_MAX {
            match by_name.get(&wanted) {
                Some(Member::File { offset, size }) => return Ok(Extent { place: Offset::At(*offset), size: *size }),
                Some(Member::Link(target)) => wanted.clone_from(target),
                Some(Member::Other) => {
                    return Err(refused(format!("member `{}` of the archive is not a file", shown())));
                }
                None => return Err(missing()),
            }
        }
        Err(refused(format!("member `{}` of the archive is a link that leads nowhere", shown())))
    }

    /// Reads a manifest, index or config.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let extent = self.find(name)?;
        if extent.size > DOCUMENT_MAX {
            return Err(refused(format!(
                "`{name}` has {} bytes, and no more than {DOCUMENT_MAX} are read",
                extent.size
            )));
        }
        // A few documents that are named again and again would fill the memory all the same.
        if self.read.fetch_add(extent.size, Ordering::Relaxed) + extent.size > DOCUMENTS_MAX {
            return Err(refused(format!("the documents of {} have more than {DOCUMENTS_MAX} bytes", self.called())));
        }
        let mut bytes = vec![0; usize::try_from(extent.size).unwrap_or_default()];
        self.reader(&extent)?.read_exact_at(&mut bytes, 0).map_err(Error::io("read", self.called()))?;
        Ok(bytes)
    }

    /// Finds the blob with this digest and size.
    pub(crate) fn blob(&self, digest: &Digest, size: u64) -> Result<Extent> {
        self.sized(&self.naming.blob(digest), digest, size)
    }

    /// Reads the config with this digest and size, and verifies it.
    pub(crate) fn config(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        self.verified(&self.naming.blob(digest), digest, size)
    }

    /// Reads the manifest or index with this digest and size, and verifies it.
    pub(crate) fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        self.verified(&self.naming.manifest(digest), digest, size)
    }

    fn sized(&self, name: &str, digest: &Digest, size: u64) -> Result<Extent> {
        let extent = self.find(name)?;
        if extent.size != size {
            return Err(corrupt(format!("blob `{digest}` has {} bytes, and its descriptor says {size}", extent.size)));
        }
        Ok(extent)
    }

    fn verified(&self, name: &str, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        self.sized(name, digest, size)?;
        let bytes = self.document(name)?;
        verify(&bytes, digest)?;
        Ok(bytes)
    }

    /// Opens a member.
    pub(crate) fn reader(&self, extent: &Extent) -> Result<MemberFile> {
        let (file, begin) = match (&self.place, &extent.place) {
            (Place::Archive { file, .. }, Offset::At(begin)) => {
                (file.try_clone().map_err(Error::io("reopen", "the archive"))?, *begin)
            }
            (Place::Folder(folder), Offset::File(name)) => {
                let file = folder.find(name)?;
                (file.ok_or_else(|| refused(format!("`{name}` has vanished from {}", self.called())))?, 0)
            }
            _ => return Err(Error::refused(Kind::Internal, "a member of another place")),
        };
        Ok(MemberFile { file, begin, size: extent.size, at: 0 })
    }

    /// Copies a member's bytes into the store. What is read and verified afterwards is the copy, which nobody else can write.
    pub(crate) fn take(&self, store: &Store, extent: &Extent) -> Result<Ingest> {
        let mut ingest = store.ingest()?;
        let path = ingest.path().to_owned();
        let called = self.called();
        self.reader(extent)?.copy_to(ingest.file()).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => corrupt(format!("{called} ends before its content does")),
            _ => Error::io("copy the archive to", path)(source),
        })?;
        Ok(ingest)
    }
}

/// A member's bytes; the position of the file they are in does not count, so threads may share it.
#[derive(Debug)]
pub(crate) struct MemberFile {
    file: File,
    begin: u64,
    size: u64,
    at: u64,
}

impl MemberFile {
    /// Fills the buffer from an offset in the member on.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        if offset + buffer.len() as u64 > self.size {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, self.begin + offset)
    }

    /// Copies inside the kernel where it can.
    fn copy_to(&self, to: &mut File) -> std::io::Result<()> {
        let (mut offset, mut left) = (self.begin, self.size);
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
            match rustix::fs::copy_file_range(&self.file, Some(&mut offset), &*to, None, length) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => left -= count as u64,
                Err(rustix::io::Errno::INTR) => {}
                // Another file system, or one without the call.
                Err(_) => return self.copy_through(offset, left, to),
            }
        }
        Ok(())
    }

    fn copy_through(&self, mut offset: u64, mut left: u64, to: &mut File) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        while left > 0 {
            let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = self.file.read_at(&mut buffer[..length], offset)?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            to.write_all(&buffer[..count])?;
            (offset, left) = (offset + count as u64, left - count as u64);
        }
        Ok(())
    }
}

impl std::io::Read for MemberFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.size - self.at).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..length], self.begin + self.at)?;
        if count == 0 && length > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// Refuses bytes that do not have the digest.
pub(crate) fn verify(bytes: &[u8], digest: &Digest) -> Result<()> {
    let mut hasher = mica_layer::Hasher::with(digest.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *digest { Ok(()) } else { Err(corrupt(format!("`{digest}` in the archive has the digest `{found}`"))) }
}

/// The archive breaks a rule.
pub(crate) fn refused(message: String) -> Error {
    Error::refused(Kind::InvalidInput, message)
}

/// The archive's bytes are not what it says they are.
pub(crate) fn corrupt(message: String) -> Error {
    Error::refused(Kind::Corrupt, message)
}
