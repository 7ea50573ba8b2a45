//! What takes the members of an image one by one: an archive, or a folder that is new.

use std::fmt;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use mica_layer::{Digest, Hasher};

use super::{Folder, Part};
use crate::{Error, Kind, Result};

/// Takes members, each name once.
pub(crate) trait Writer: Send + fmt::Debug {
    /// Makes a folder.
    fn folder(&mut self, name: &str) -> Result<()>;

    /// Takes a member of exactly so many bytes.
    fn member(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()>;

    /// Ends it. Without this, nothing that looks whole is left.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// An archive.
pub(crate) struct Tar {
    tar: tar::Builder<Box<dyn Write + Send>>,
    part: Option<Part>,
    shown: PathBuf,
}

impl Tar {
    /// An archive that goes into a stream.
    pub(crate) fn into_stream(sink: Box<dyn Write + Send>) -> Tar {
        Tar { tar: tar::Builder::new(sink), part: None, shown: "the archive".into() }
    }

    /// An archive that gets its name when it is whole.
    pub(crate) fn into_file(path: &Path, umask: u32) -> Result<Tar> {
        let mut part = Part::at(path, umask)?;
        let file = part.file().try_clone().map_err(Error::io("reopen", path))?;
        let sink = Box::new(BufWriter::with_capacity(1 << 18, file));
        Ok(Tar { tar: tar::Builder::new(sink), part: Some(part), shown: path.to_owned() })
    }

    /// Begins a member whose bytes come piece by piece.
    pub(crate) fn begin(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, size);
        let failed = self.failed();
        // The header alone: what follows it is written below.
        self.tar.append_data(&mut header, name, std::io::empty()).map_err(failed)
    }

    /// The next bytes of the member that was begun.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = self.failed();
        self.tar.get_mut().write_all(bytes).map_err(failed)
    }

    /// Ends a member of so many bytes.
    pub(crate) fn end(&mut self, size: u64) -> Result<()> {
        let rest = usize::try_from(size % 512).unwrap_or_default();
        self.content(&[0; 512][..(512 - rest) % 512])
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> Error + use<> {
        let path = self.shown.clone();
        move |source| Error::Io { operation: "write", path: path.clone(), source }
    }
}

impl fmt::Debug for Tar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tar").field(&self.shown).finish()
    }
}

impl Writer for Tar {
    fn folder(&mut self, name: &str) -> Result<()> {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        let failed = self.failed();
        self.tar.append_data(&mut header, format!("{name}/"), std::io::empty()).map_err(failed)
    }

    fn member(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, size);
        let failed = self.failed();
        self.tar.append_data(&mut header, name, content).map_err(failed)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let failed = self.failed();
        let mut sink = self.tar.into_inner().map_err(&failed)?;
        sink.flush().map_err(&failed)?;
        drop(sink);
        self.part.map_or(Ok(()), Part::place)
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

/// A folder that was not there, or that was empty. What is in it goes again unless it is finished.
#[derive(Debug)]
pub(crate) struct NewFolder {
    folder: Folder,
    umask: u32,
    /// Whether the folder itself is new.
    made: bool,
    whole: bool,
}

impl NewFolder {
    /// Makes the folder, or takes an empty one.
    pub(crate) fn at(path: &Path, umask: u32) -> Result<NewFolder> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = match std::fs::DirBuilder::new().mode(0o777 & !umask).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::io("create", path)(error)),
        };
        if !made && fs_err::read_dir(path).map_err(Error::io("read", path))?.next().is_some() {
            let message = format!("`{}` is not empty", path.display());
            return Err(Error::refused(Kind::AlreadyExists, message).with_hint("name a folder that is not there yet"));
        }
        Ok(NewFolder { folder: Folder::open(path)?, umask, made, whole: false })
    }
}

impl NewFolder {
    /// The folder, to write into by other ways.
    pub(crate) fn inner(&self) -> &Folder {
        &self.folder
    }
}

impl Writer for NewFolder {
    fn folder(&mut self, name: &str) -> Result<()> {
        self.folder.make(Path::new(name), self.umask).map(drop)
    }

    fn member(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let mut part = self.folder.begin(name, self.umask)?;
        let count = std::io::copy(content, part.file()).map_err(Error::io("write", part.shown()))?;
        if count != size {
            let message = format!("`{name}` has {count} bytes instead of {size}");
            return Err(Error::refused(Kind::Corrupt, message));
        }
        part.place()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.whole = true;
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if self.whole {
            return;
        }
        let path = self.folder.path();
        if self.made {
            let _ = fs_err::remove_dir_all(path);
            return;
        }
        for entry in fs_err::read_dir(path).into_iter().flatten().flatten() {
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs_err::remove_dir_all(entry.path()),
                _ => fs_err::remove_file(entry.path()),
            };
        }
    }
}

/// Hands a writer a member whose digest is known, and refuses other bytes.
pub(crate) fn hashed(
    out: &mut dyn Writer,
    name: &str,
    (digest, size): (&Digest, u64),
    content: impl Read,
) -> Result<()> {
    let mut content = Hashing { inner: content, hasher: Hasher::with(digest.algorithm()) };
    out.member(name, size, &mut content)?;
    if content.hasher.finish() == *digest {
        return Ok(());
    }
    Err(Error::refused(Kind::Corrupt, format!("blob `{digest}` is damaged: its bytes have another digest")))
}

struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
