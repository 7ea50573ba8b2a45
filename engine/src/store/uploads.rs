//! Notes of uploads: where at a registry a layer has got to, for the push that goes on when the one that sends it dies.
//!
//! A note is a file, `uploads/<hex>`, held by an flock by whoever sends the layer, so that two pushes never send to one upload.
//! It is a hint: the registry is asked how much it has, and verifies the digest in the end. It holds no credentials.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mica_layer::{DiffId, Digest};
use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::{Error, Result};

/// How long a note is of use: registries forget uploads too.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most bytes of a note that are read.
const NOTE_MAX: u64 = 64 * 1024;

/// What is sent where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// The registry and the path on it.
    pub(crate) repository: String,
    pub(crate) layer: DiffId,
    /// What the layer is packed to, or the digest of a blob that goes as it is.
    pub(crate) form: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    sending: Sending,
    place: String,
}

/// The note of one upload, held for the life of the value.
#[derive(Debug)]
pub(crate) struct UploadNote {
    sending: Sending,
    path: PathBuf,
    file: File,
    /// Where it has got to, as it was found or last written.
    place: Option<String>,
}

impl UploadNote {
    /// Where an earlier push got to.
    pub(crate) fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Writes down where it has got to. Nothing is flushed: what a power cut takes is sent again.
    pub(crate) fn write(&mut self, place: &str) -> Result<()> {
        if self.place.as_deref() == Some(place) {
            return Ok(());
        }
        let note = Note { sending: self.sending.clone(), place: place.to_owned() };
        let bytes = serde_json::to_vec(&note).unwrap_or_default();
        let written = self.file.write_all_at(&bytes, 0).and_then(|()| self.file.set_len(bytes.len() as u64));
        written.map_err(Error::io("write", &self.path))?;
        self.place = Some(place.to_owned());
        Ok(())
    }

    /// Forgets where it has got to.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.place = None;
        self.file.set_len(0).map_err(Error::io("write", &self.path))
    }

    /// The layer has arrived, or nothing has been sent of it.
    pub(crate) fn remove(self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

impl Store {
    /// Takes up the note of an upload; nothing when another process sends this just now.
    pub(crate) fn upload_note(&self, sending: Sending) -> Result<Option<UploadNote>> {
        let directory = self.uploads();
        super::private_directory(&directory)?;
        let name = format!("{}\0{}\0{}", sending.repository, sending.layer.0, sending.form);
        let path = directory.join(Digest::sha256_of(name.as_bytes()).hex());
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = loop {
            let file = options.open(&path).map_err(Error::io("open", &path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                locked => locked.map_err(|errno| Error::io("lock", &path)(errno.into()))?,
            }
            // Whoever held it may have been done with it.
            if fstat(&file).map_err(|errno| Error::io("stat", &path)(errno.into()))?.st_nlink > 0 {
                break file;
            }
        };
        let mut bytes = Vec::new();
        (&file).take(NOTE_MAX).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        let found = serde_json::from_slice::<Note>(&bytes).ok().filter(|note| note.sending == sending);
        let fresh = file.metadata().is_ok_and(|found| !is_old(&found));
        let place = found.filter(|_| fresh).map(|note| note.place);
        Ok(Some(UploadNote { sending, path, file, place }))
    }

    /// Takes away notes that are too old to be of use.
    pub(crate) fn collect_old_uploads(&self) -> Result<()> {
        self.collect_uploads_if(is_old)
    }

    /// Takes away all notes that nobody holds.
    pub(crate) fn collect_uploads(&self) -> Result<()> {
        self.collect_uploads_if(|_| true)
    }

    fn collect_uploads_if(&self, wanted: impl Fn(&std::fs::Metadata) -> bool) -> Result<()> {
        let directory = self.uploads();
        for name in super::names_in(&directory)? {
            take_away(&directory.join(name), &wanted);
        }
        Ok(())
    }

    fn uploads(&self) -> PathBuf {
        self.root().join("uploads")
    }
}

fn take_away(path: &Path, wanted: &impl Fn(&std::fs::Metadata) -> bool) {
    let Ok(file) = fs_err::File::open(path) else { return };
    let due = file.metadata().is_ok_and(|found| wanted(&found));
    if due && flock(file.file(), FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = fs_err::remove_file(path);
    }
}

/// A clock that was set back makes every note old.
fn is_old(found: &std::fs::Metadata) -> bool {
    let age = found.modified().ok().and_then(|written| SystemTime::now().duration_since(written).ok());
    age.is_none_or(|age| age > KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(form: &str) -> Sending {
        let layer = DiffId(Digest::sha256_of(b"layer"));
        Sending { repository: "r.example/a".to_owned(), layer, form: form.to_owned() }
    }

    #[test]
    fn a_note_is_found_by_the_next_push_of_the_same_and_by_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let store = Store::open(&root, &directory.path().join("run"), crate::Durability::None).unwrap();
        let take = |form: &str| store.upload_note(sending(form)).unwrap();
        let file = || fs_err::read_dir(root.join("uploads")).unwrap().next().unwrap().unwrap().path();
        let mut note = take("gzip:1").unwrap();
        assert_eq!(note.place(), None);
        note.write("https://r.example/v2/a/blobs/uploads/a-long-one").unwrap();
        note.write("https://r.example/v2/a/1").unwrap();
        assert!(take("gzip:1").is_none(), "two hold one note");
        store.collect_uploads().unwrap();
        drop(note);
        let place = |form: &str| take(form).unwrap().place().map(str::to_owned);
        assert_eq!(place("gzip:1").as_deref(), Some("https://r.example/v2/a/1"));
        assert_eq!(place("zstd:3"), None);
        store.collect_uploads().unwrap();
        assert_eq!(fs_err::read_dir(root.join("uploads")).unwrap().count(), 0);

        // Notes that are torn, and those that are too old.
        take("gzip:1").unwrap().write("https://r.example/v2/a/1").unwrap();
        let whole = fs_err::read(file()).unwrap();
        for length in 0..whole.len() {
            fs_err::write(file(), &whole[..length]).unwrap();
            assert_eq!(place("gzip:1"), None, "{length}");
        }
        for (hours, kept) in [(23, true), (25, false), (-1, false)] {
            fs_err::write(file(), &whole).unwrap();
            let now = SystemTime::now();
            let hour = Duration::from_secs(3600);
            let time = if hours < 0 { now + hour } else { now - hour * u32::try_from(hours).unwrap() };
            std::fs::OpenOptions::new().write(true).open(file()).unwrap().set_modified(time).unwrap();
            assert_eq!(place("gzip:1").is_some(), kept, "{hours}");
            store.collect_old_uploads().unwrap();
            assert_eq!(root.join("uploads").read_dir().unwrap().count(), usize::from(kept), "{hours}");
            drop(take("gzip:1"));
        }
        take("gzip:1").unwrap().remove();
        assert_eq!(fs_err::read_dir(root.join("uploads")).unwrap().count(), 0);
    }
}
