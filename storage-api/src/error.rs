//! The one error of the driver contract: a closed set of kinds, an errno where there was one, and a sentence.

use rustix::io::Errno;

/// What a driver call yields.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in the few ways the engine reacts to differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound = 1,
    /// The object exists already; from a commit: somebody else published the same key.
    Exists = 2,
    /// Something else uses the resource right now.
    Busy = 3,
    /// The object cannot go because others need it.
    InUse = 4,
    /// The request makes no sense: a bad name, an unknown option.
    Invalid = 5,
    /// This driver has no such verb or option.
    Unsupported = 6,
    /// The file system or the quota is full.
    NoSpace = 7,
    /// The kernel said no.
    Permission = 8,
    /// The object is damaged and should be rebuilt.
    Corrupt = 9,
    /// The device failed.
    Io = 10,
    /// The host asked to stop.
    Cancelled = 11,
    /// Something took too long.
    Timeout = 12,
    /// Not a failure: the engine's generic path does this.
    Fallback = 13,
    /// The driver panicked.
    Panic = 14,
    /// None of these.
    Other = 15,
    /// Refusal of `open`: the kernel lacks what the driver needs.
    NotSupported = 16,
    /// Refusal of `open`: something an administrator can supply is missing.
    Prerequisite = 17,
    /// Refusal of `open`: the file system of the root does not suit.
    IncompatibleFs = 18,
}

impl ErrorKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 18] = [
        Self::NotFound,
        Self::Exists,
        Self::Busy,
        Self::InUse,
        Self::Invalid,
        Self::Unsupported,
        Self::NoSpace,
        Self::Permission,
        Self::Corrupt,
        Self::Io,
        Self::Cancelled,
        Self::Timeout,
        Self::Fallback,
        Self::Panic,
        Self::Other,
        Self::NotSupported,
        Self::Prerequisite,
        Self::IncompatibleFs,
    ];

    /// The kind with this number in the C interface.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == code)
    }

    /// Whether this is one of the three ways in which `open` declines without anything being wrong with the driver.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::NotSupported | Self::Prerequisite | Self::IncompatibleFs)
    }
}

impl From<Errno> for ErrorKind {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::EXIST | Errno::NOTEMPTY => Self::Exists,
            Errno::BUSY | Errno::TXTBSY | Errno::AGAIN => Self::Busy,
            Errno::INVAL | Errno::NAMETOOLONG | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP => Self::Invalid,
            Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY => Self::Unsupported,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace,
            Errno::PERM | Errno::ACCESS | Errno::ROFS => Self::Permission,
            // ext4 and xfs report a bad checksum as EBADMSG and damaged structures as EUCLEAN.
            Errno::UCLEAN | Errno::BADMSG => Self::Corrupt,
            Errno::IO | Errno::NXIO | Errno::STALE => Self::Io,
            Errno::INTR | Errno::CANCELED => Self::Cancelled,
            Errno::TIMEDOUT => Self::Timeout,
            _ => Self::Other,
        }
    }
}

/// A failed driver call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// How the engine should react.
    pub kind: ErrorKind,
    /// The kernel's number, where there was one.
    pub errno: Option<i32>,
    /// What happened to what, for a person.
    pub message: String,
}

impl Error {
    /// An error without an errno.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, errno: None, message: message.into() }
    }

    /// A failed system call: `what` names the operation and its object, the kernel's words are appended.
    pub fn os(errno: Errno, what: impl std::fmt::Display) -> Self {
        Self { kind: errno.into(), errno: Some(errno.raw_os_error()), message: format!("{what}: {}", describe(errno)) }
    }

    /// The same error under another kind, for callers who know better what an errno means here.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The answer of a driver that leaves the work to the engine's generic path.
    pub fn fallback() -> Self {
        Self::new(ErrorKind::Fallback, "left to the engine's generic path")
    }

    /// The answer to a verb or option this driver does not have.
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{what} is not supported by this driver"))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self { kind: errno.into(), errno: Some(errno.raw_os_error()), message: describe(errno) }
    }
}

/// Names the operation when a system call fails.
pub trait ResultExt<T> {
    /// `what` reads like "rename `stage/x` to `layers/y`".
    fn during<D: std::fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> ResultExt<T> for std::result::Result<T, Errno> {
    fn during<D: std::fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Error::os(errno, what()))
    }
}

fn describe(errno: Errno) -> String {
    // std appends " (os error N)", which `Error::errno` says already.
    let text = std::io::Error::from(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind as u32), Some(kind));
        }
        assert_eq!(ErrorKind::from_code(0), None);
        assert_eq!(ErrorKind::from_code(19), None);
    }

    #[test]
    fn errno_becomes_kind_and_words() {
        let error = Err::<(), _>(Errno::DQUOT).during(|| "write `a`").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoSpace);
        assert_eq!(error.errno, Some(libc::EDQUOT));
        assert_eq!(error.to_string(), "write `a`: Disk quota exceeded");
    }
}
