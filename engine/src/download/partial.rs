//! A partial file: its bytes, the note beside it, and who waits for more.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mica_layer::Digest;
use mica_storage_api::sys;
use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;

use super::intervals::Intervals;
use crate::manifest::Descriptor;
use crate::store::Store;
use crate::{Error, Result};

const PARTIAL: &str = ".partial";
const NOTE: &str = ".note";
/// How much may come in before the note is written again: what a kill costs at most for each connection.
const NOTE_EVERY: u64 = 1 << 20;
/// How long a partial file waits for somebody who goes on with it.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A blob on its way, held by an flock for the life of the value. Dropped unfinished it stays for the next who wants it.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) blob: Descriptor,
    path: PathBuf,
    file: File,
    note: File,
    /// How many bytes were there when it was opened.
    pub(crate) found: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    there: Intervals,
    noted: u64,
    failed: Option<Error>,
    abandoned: bool,
}

impl Partial {
    /// Takes up what is there of a blob, waiting for whoever holds it. Blocks.
    pub(crate) fn open(store: &Store, blob: &Descriptor) -> Result<Arc<Partial>> {
        let name = format!("{}-{}{PARTIAL}", blob.digest.algorithm().name(), blob.digest.hex());
        let path = store.root().join("content/ingest").join(name);
        let mut options = std::fs::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = loop {
            let file = options.open(&path).map_err(Error::io("open", &path))?;
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => continue,
                locked => locked.map_err(|errno| Error::io("lock", &path)(errno.into()))?,
            }
            // Whoever held it may have put it in place as the blob, and a sweep may have taken it.
            if is_at(&file, &path)? {
                break file;
            }
        };
        let note_path = note_of(&path);
        let note = options.open(&note_path).map_err(Error::io("open", &note_path))?;
        // A sweep takes what nobody holds. Nobody else takes this one, because the file itself is held.
        let _ = flock(&note, FlockOperation::NonBlockingLockExclusive);
        let mut there = Intervals::read(&read_all(&note).map_err(Error::io("read", &note_path))?, blob.size);
        let length = file.metadata().map_err(Error::io("stat", &path))?.len();
        if length > blob.size || there.gaps(blob.size).last().map_or(blob.size, |gap| gap.start) > length {
            there = Intervals::default();
        }
        let found = there.total();
        let state = Mutex::new(State { there, noted: found, ..State::default() });
        Ok(Arc::new(Partial { blob: blob.clone(), path, file, note, found, state, changed: Condvar::new() }))
    }

    /// Writes bytes that came in.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(Error::io("write", &self.path))?;
        let mut state = self.state();
        state.there.add(at..at + bytes.len() as u64);
        let total = state.there.total();
        let due = total >= state.noted + NOTE_EVERY || total == self.blob.size;
        if due {
            state.noted = total;
        }
        self.changed.notify_all();
        // Written with the lock held, so that an older note never replaces a newer one.
        if due { self.write_note(&state.there) } else { Ok(()) }
    }

    fn write_note(&self, there: &Intervals) -> Result<()> {
        let note = there.note(self.blob.size);
        let written = self.note.write_all_at(&note, 0).and_then(|()| self.note.set_len(note.len() as u64));
        written.map_err(Error::io("write", note_of(&self.path)))
    }

    /// What is missing, in order.
    pub(crate) fn gaps(&self) -> Vec<Range<u64>> {
        self.state().there.gaps(self.blob.size)
    }

    /// How many bytes are there.
    pub(crate) fn total(&self) -> u64 {
        self.state().there.total()
    }

    /// Waits until there is something to read at `at`, and reads it; nothing at the blob's end. Blocks.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        if at >= self.blob.size || buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.state();
        let reach = loop {
            let reach = state.there.reach(at);
            if reach > at {
                break reach;
            }
            if let Some(error) = &state.failed {
                return Err(std::io::Error::other(error.to_string()));
            }
            if state.abandoned {
                return Err(std::io::Error::other("the download was given up"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let wanted = usize::try_from(reach - at).unwrap_or(usize::MAX).min(buffer.len());
        self.file.read_at(&mut buffer[..wanted], at)
    }

    /// Lets the disk have the bytes once they are all there; returns sooner when nobody wants them any more. Blocks.
    pub(crate) fn write_back(&self) -> Result<()> {
        let mut state = self.state();
        while !state.there.gaps(self.blob.size).is_empty() && state.failed.is_none() && !state.abandoned {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let whole = state.there.gaps(self.blob.size).is_empty();
        drop(state);
        if !whole {
            return Ok(());
        }
        sys::write_back(self.file.as_fd()).map_err(|errno| Error::io("flush", &self.path)(errno.into()))
    }

    /// Tells readers that no more will come.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.state();
        state.failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Why no more comes.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.state().failed.take()
    }

    /// Tells whoever waits that nobody needs the bytes.
    pub(crate) fn abandon(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }

    /// Puts the bytes in place as the blob, whose digest the caller has computed.
    pub(crate) fn finish(&self, store: &Store, digest: &Digest) -> Result<()> {
        let place = store.blob_path(digest);
        if let Some(parent) = place.parent() {
            crate::store::private_directory(parent)?;
        }
        fs_err::rename(&self.path, &place).map_err(Error::io("rename", &self.path))?;
        let _ = fs_err::remove_file(note_of(&self.path));
        Ok(())
    }

    /// Takes bytes away that turned out wrong.
    pub(crate) fn discard(&self) {
        let _ = fs_err::remove_file(note_of(&self.path));
        let _ = fs_err::remove_file(&self.path);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.there.total() == 0 && fstat(self.file.as_fd()).is_ok_and(|found| found.st_nlink > 0) {
            // Nothing came: nothing is to be kept.
            let _ = fs_err::remove_file(note_of(&self.path));
            let _ = fs_err::remove_file(&self.path);
            return;
        }
        let there = std::mem::take(&mut state.there);
        let _ = self.write_note(&there);
    }
}

/// True for a partial file or its note that a sweep is to leave: one that somebody may still go on with.
pub(crate) fn is_awaited(path: &Path, found: &std::fs::Metadata) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.ends_with(PARTIAL) && !name.ends_with(NOTE) {
        return false;
    }
    let age = found.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_none_or(|age| age < KEPT)
}

/// True when the path still leads to the file.
fn is_at(file: &File, path: &Path) -> Result<bool> {
    let own = fstat(file).map_err(|errno| Error::io("stat", path)(errno.into()))?;
    match rustix::fs::lstat(path) {
        Ok(found) => Ok((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io("stat", path)(errno.into())),
    }
}

/// The note beside a partial file.
fn note_of(path: &Path) -> PathBuf {
    path.with_extension(&NOTE[1..])
}

fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}
