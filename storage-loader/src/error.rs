//! Why a plugin was not loaded, and what failed in one that was.

use std::path::PathBuf;

use mica_storage_api::ErrorKind;

/// What this crate yields.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure to find, load or use a driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be that of a driver.
    #[error("`{name}` is not a storage driver name: 1 to 32 of a-z 0-9 _ -")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// No directory has the file.
    #[error("no storage driver `{name}`: there is no `libmica_storage_{name}.so` in {}", list(searched))]
    NotFound {
        /// What was asked for.
        name: String,
        /// Where it was sought, in order.
        searched: Vec<PathBuf>,
    },
    /// The file is there and must not or cannot be loaded.
    #[error("refuse to load the storage driver `{}`", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Refusal,
    },
    /// What a driver is to be pinned to is no digest.
    #[error("the driver `{name}` is pinned to `{digest}`, which is not `sha256:` and 64 hexadecimal digits")]
    Pin {
        /// The driver.
        name: String,
        /// What was given.
        digest: String,
    },
    /// A verb of a loaded driver failed.
    #[error("storage driver `{driver}`: {operation} failed")]
    Call {
        /// The driver's name.
        driver: String,
        /// The verb, in the words of `mica_storage.h`.
        operation: &'static str,
        /// What the driver said.
        source: mica_storage_api::Error,
    },
}

impl Error {
    /// How to react.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. } | Self::Pin { .. } => ErrorKind::Invalid,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Refused { source, .. } => source.kind(),
            Self::Call { source, .. } => source.kind,
        }
    }

    /// The kernel's number, where a driver passed one on.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Call { source, .. } => source.errno,
            _ => None,
        }
    }
}

/// Why a file is not loaded as a plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It cannot be looked at.
    #[error("cannot examine `{}`", path.display())]
    Unreadable {
        /// The file or the directory above it.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// It is a symbolic link, which may point elsewhere a moment later.
    #[error("`{}` is a symbolic link; put the library itself there", path.display())]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// It is something else than a file.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else owns it or a directory above it.
    #[error("`{}` belongs to user {uid}; it must belong to root or to the user who runs mica", path.display())]
    Owner {
        /// The file or the directory above it.
        path: PathBuf,
        /// The owner.
        uid: u32,
    },
    /// Somebody else may write to it or to a directory above it.
    #[error("`{}` (mode {mode:04o}) can be written by others; run `chmod go-w` on it", path.display())]
    Writable {
        /// The file or the directory above it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no shared library of this machine, or not all of one.
    #[error("it is no shared library: {how}")]
    NotALibrary {
        /// What it is instead.
        how: &'static str,
    },
    /// The configuration names another file of this driver.
    #[error("its digest is `{found}`, the configuration pins `{expected}`")]
    Pinned {
        /// The digest it has.
        found: String,
        /// The digest it must have.
        expected: String,
    },
    /// Drivers are pinned by name, and it has none before it is loaded.
    #[error(
        "drivers are pinned, and neither its file name nor a note says which one it is; call it `libmica_storage_NAME.so`"
    )]
    Unnamed,
    /// The dynamic linker failed.
    #[error("cannot load it: {reason}")]
    Link {
        /// The linker's words.
        reason: String,
    },
    /// It is a library of another kind.
    #[error("it exports no `mica_storage_plugin_v1`")]
    NoSymbol,
    /// It does not speak our ABI.
    #[error("it speaks storage ABI {major}.{minor}, this mica speaks 1.x; a driver built for this version is needed")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// It says itself that it does not speak our ABI.
    #[error("it does not offer storage ABI 1; a driver built for this version is needed")]
    Declined,
    /// The table does not begin as one must.
    #[error("its table begins with {magic:#010x}, not with the magic number of a storage driver")]
    Magic {
        /// What it begins with.
        magic: u32,
    },
    /// A struct is shorter than ABI 1.0 has it.
    #[error("its {what} has {size} bytes, ABI 1.0 has {least}")]
    Short {
        /// Which struct.
        what: &'static str,
        /// Its size.
        size: u32,
        /// The least there may be.
        least: usize,
    },
    /// The table has no function for a verb every driver has.
    #[error("its table has no `{verb}`")]
    MissingVerb {
        /// The verb.
        verb: &'static str,
    },
    /// It names itself otherwise than its file, or not at all.
    #[error("it calls itself `{found}`, its file says `{expected}`")]
    Name {
        /// What it calls itself.
        found: String,
        /// What its file is called.
        expected: String,
    },
    /// A file of the same name lies earlier in the search path.
    #[error("`{}` comes first", by.display())]
    Shadowed {
        /// The earlier file.
        by: PathBuf,
    },
}

impl Refusal {
    /// How to react.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Unreadable { .. }
            | Self::Symlink { .. }
            | Self::Owner { .. }
            | Self::Writable { .. }
            | Self::Pinned { .. }
            | Self::Unnamed => ErrorKind::Permission,
            _ => ErrorKind::Invalid,
        }
    }
}

fn list(dirs: &[PathBuf]) -> String {
    if dirs.is_empty() {
        return "any directory, for none is configured".to_owned();
    }
    dirs.iter().map(|dir| format!("`{}`", dir.display())).collect::<Vec<_>>().join(", ")
}
