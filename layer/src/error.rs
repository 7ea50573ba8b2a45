//! The one error of this crate: each variant names what was being done, to which path or digest, and why it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a layer could not be read, applied, compared or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that should be a digest is not one.
    #[error("`{text}` is not a digest: {reason}")]
    InvalidDigest {
        /// The text, cut and escaped so that it can be shown.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Content does not have the digest it was announced with.
    #[error("{what} has digest `{actual}` instead of `{expected}`")]
    DigestMismatch {
        /// Which content: the blob or the uncompressed layer.
        what: &'static str,
        /// The digest that was announced.
        expected: Digest,
        /// The digest of the bytes that came.
        actual: Digest,
    },
    /// Content does not have the size it was announced with.
    #[error("blob has {actual} bytes or more instead of the {expected} announced")]
    TooLong {
        /// The announced size.
        expected: u64,
        /// How many bytes had come when reading stopped.
        actual: u64,
    },
    /// Content ends before its announced size.
    #[error("blob ends after {actual} of {expected} bytes")]
    TooShort {
        /// The announced size.
        expected: u64,
        /// How many bytes came.
        actual: u64,
    },
    /// The stream is compressed in a way that layers cannot be.
    #[error("layer is compressed with {0}, which is not a layer format: recompress it with gzip or zstd")]
    UnsupportedCompression(&'static str),
    /// The compressed stream is damaged, or asks for too much memory.
    #[error("cannot decompress {compression} stream")]
    Decompress {
        /// The compression that was detected.
        compression: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// The source of a layer could not be read.
    #[error("cannot read layer")]
    Source(#[source] io::Error),
    /// The receiver of a blob's bytes refused them.
    #[error("cannot store blob")]
    Blob(#[source] io::Error),
    /// The receiver of a written archive refused its bytes.
    #[error("cannot write archive")]
    Sink(#[source] io::Error),
    /// The stream is not a tar archive at all.
    #[error("not a tar archive: {0}")]
    NotAnArchive(&'static str),
    /// The archive breaks the format.
    #[error("malformed archive at byte {offset}: {reason}")]
    Malformed {
        /// Where the offending header starts in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The archive ends in the middle of an entry.
    #[error("archive is cut short at byte {offset}")]
    Truncated {
        /// Where the stream ended.
        offset: u64,
    },
    /// The archive is well formed, but an entry asks for what is never done.
    #[error("refusing entry `{}`: {reason}", Shown(path))]
    Refused {
        /// The entry.
        path: PathBuf,
        /// Why it is refused.
        reason: String,
    },
    /// A hard link names a file that is neither in its layer nor below it.
    #[error("hard link `{}` points to `{}`, which is in neither this layer nor one below", Shown(path), Shown(target))]
    LinkTarget {
        /// The link.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// A layer exceeds a limit set by the caller.
    #[error("layer has more than {limit} {what}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A system call on a path below a root failed.
    #[error("cannot {op} `{}`", Shown(path))]
    Io {
        /// The operation, as a verb phrase.
        op: &'static str,
        /// The path, relative to the root that was being worked on.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An extended attribute could not be read or written.
    #[error("cannot {op} extended attribute `{}` of `{}`", name.escape_debug(), Shown(path))]
    Xattr {
        /// `read` or `set`.
        op: &'static str,
        /// The attribute.
        name: String,
        /// The path, relative to the root that was being worked on.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The classes of failure a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's own argument is wrong.
    InvalidInput,
    /// The content is not what it claims to be, or harmful.
    Corrupt,
    /// The content uses something that is deliberately not supported.
    Unsupported,
    /// Something named is absent.
    NotFound,
    /// The kernel denied it.
    Denied,
    /// The file system is full, or a quota is.
    NoSpace,
    /// Anything else.
    Internal,
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::InvalidDigest { .. } | Error::Limit { .. } => ErrorKind::InvalidInput,
            Error::DigestMismatch { .. }
            | Error::TooLong { .. }
            | Error::TooShort { .. }
            | Error::Decompress { .. }
            | Error::NotAnArchive(_)
            | Error::Malformed { .. }
            | Error::Truncated { .. }
            | Error::Refused { .. }
            | Error::LinkTarget { .. } => ErrorKind::Corrupt,
            Error::UnsupportedCompression(_) => ErrorKind::Unsupported,
            Error::Source(e) | Error::Blob(e) | Error::Sink(e) => of_io(e),
            Error::Io { source, .. } | Error::Xattr { source, .. } => of_io(source),
        }
    }

    /// An [`Error::Io`], from anything the kernel says.
    pub(crate) fn io(op: &'static str, path: &(impl AsRef<[u8]> + ?Sized), source: impl Into<io::Error>) -> Error {
        Error::Io { op, path: crate::beneath::path_of(path.as_ref()), source: source.into() }
    }

    /// An [`Error::Refused`].
    pub(crate) fn refused(path: &[u8], reason: impl Into<String>) -> Error {
        Error::Refused { path: crate::beneath::path_of(path), reason: reason.into() }
    }
}

fn of_io(e: &io::Error) -> ErrorKind {
    match e.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ErrorKind::NoSpace,
        _ => ErrorKind::Internal,
    }
}

/// A path from a stranger's archive, made safe for a terminal: an escape sequence in a file name must not reach it.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string_lossy().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}
