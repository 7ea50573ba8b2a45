//! The engine's one error type and the kinds that callers map to exit codes.

use std::path::PathBuf;

/// What went wrong, in the terms a caller acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The named object does not exist.
    NotFound,
    /// The name or identifier is taken.
    AlreadyExists,
    /// The object is in a state that forbids the operation.
    Conflict,
    /// The request itself is wrong.
    InvalidInput,
    /// This machine, driver or build of Mica cannot do it.
    Unsupported,
    /// Permission was refused.
    Denied,
    /// Something needed is not reachable now and may be later.
    Unavailable,
    /// Stored or received bytes are not what they claim to be.
    Corrupt,
    /// The disk or a quota is full.
    NoSpace,
    /// The container's command was found but cannot be invoked (`run` exits with 126).
    NotExecutable,
    /// The container's command was not found (`run` exits with 127).
    CommandNotFound,
    /// Anything else: a bug or a broken machine.
    Internal,
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation of the engine that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A failure described in full by its message: the message names the object and, where there is one, the remedy.
    #[error("{message}")]
    Refused {
        /// What a caller should make of it.
        kind: Kind,
        /// Lower case, without a full stop, values in backticks.
        message: String,
        /// A remedy for a person, printed as a `hint:` line.
        hint: Option<String>,
    },
    /// A system call on a path failed.
    #[error("cannot {operation} `{}`", path.display())]
    Io {
        /// The verb, for example `open`.
        operation: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The metadata database refused a statement.
    #[error("cannot {operation} in the metadata database")]
    Database {
        /// The verb, for example `record image`.
        operation: &'static str,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// A layer archive could not be read, applied or written.
    #[error("cannot {operation} layer `{layer}`")]
    Layer {
        /// The verb.
        operation: &'static str,
        /// The layer's digest or the path it came from.
        layer: String,
        /// The layer crate's answer.
        #[source]
        source: mica_layer::Error,
    },
    /// A storage driver failed or could not be loaded.
    #[error("cannot {operation} with the storage driver")]
    Storage {
        /// The verb.
        operation: &'static str,
        /// The loader's answer, which names the driver.
        #[source]
        source: mica_storage_loader::Error,
    },
    /// An adapter (runtime, builder) failed.
    #[error("{context}")]
    Adapter {
        /// What a caller should make of it.
        kind: Kind,
        /// What the adapter was doing.
        context: String,
        /// The adapter's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A refusal with a message of its own.
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Self::Refused { kind, message: message.into(), hint: None }
    }

    /// The same error with a remedy for a person.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Refused { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Wraps an I/O error with the verb and the path, for `map_err`.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// Wraps a database error with the verb, for `map_err`.
    pub fn database(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    /// What a caller should make of this error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused { kind, .. } | Self::Adapter { kind, .. } => *kind,
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::NoSpace,
                _ => Kind::Internal,
            },
            Self::Database { source, .. } => of_database(source),
            Self::Layer { source, .. } => of_layer(source.kind()),
            Self::Storage { source, .. } => of_driver(source.kind()),
        }
    }

    /// True for a commit that failed: its last frame may be in the log although it could not be flushed, and then the next
    /// process that reads the log from its beginning finds the transaction whole.
    pub(crate) fn leaves_commit_open(&self) -> bool {
        matches!(self, Self::Database { operation: "commit", .. })
    }

    /// The remedy, where one is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }
}

fn of_database(source: &rusqlite::Error) -> Kind {
    use rusqlite::ErrorCode;
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Kind::NoSpace,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Corrupt,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Unavailable,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Kind::Denied,
        _ => Kind::Internal,
    }
}

fn of_layer(kind: mica_layer::ErrorKind) -> Kind {
    use mica_layer::ErrorKind;
    match kind {
        ErrorKind::InvalidInput => Kind::InvalidInput,
        ErrorKind::Corrupt => Kind::Corrupt,
        ErrorKind::Unsupported => Kind::Unsupported,
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::Denied => Kind::Denied,
        ErrorKind::NoSpace => Kind::NoSpace,
        _ => Kind::Internal,
    }
}

fn of_driver(kind: mica_storage_api::ErrorKind) -> Kind {
    use mica_storage_api::ErrorKind;
    match kind {
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::Exists => Kind::AlreadyExists,
        ErrorKind::Busy | ErrorKind::Timeout | ErrorKind::Cancelled => Kind::Unavailable,
        ErrorKind::InUse => Kind::Conflict,
        ErrorKind::Invalid => Kind::InvalidInput,
        ErrorKind::NoSpace => Kind::NoSpace,
        ErrorKind::Permission => Kind::Denied,
        ErrorKind::Corrupt => Kind::Corrupt,
        ErrorKind::Unsupported | ErrorKind::NotSupported | ErrorKind::Prerequisite | ErrorKind::IncompatibleFs => {
            Kind::Unsupported
        }
        _ => Kind::Internal,
    }
}
