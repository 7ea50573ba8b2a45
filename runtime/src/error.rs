//! What can fail between a client and a monitor, and what the engine should make of it.

use std::path::PathBuf;

use mica_engine::Kind;

use crate::frame::FrameError;

/// A failure of the client side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The monitor's executable could not be run.
    #[error("cannot run the monitor `{}`", path.display())]
    Launch {
        /// The executable.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file or socket of a container refused.
    #[error("cannot {operation} `{}`", path.display())]
    Io {
        /// The verb.
        operation: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The connection to a monitor broke.
    #[error("cannot {operation} the container's monitor")]
    Connection {
        /// The verb, for example `read from`.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The monitor sent something that is no frame.
    #[error("the container's monitor does not speak this version's protocol")]
    Protocol(#[source] FrameError),
    /// A record could not be written or read as JSON.
    #[error("cannot {operation} as JSON")]
    Json {
        /// The verb and the object.
        operation: &'static str,
        /// The parser's answer.
        #[source]
        source: serde_json::Error,
    },
    /// More mounts than one message carries.
    #[error("a container cannot have {descriptors} mounts of this kind, {most} are the most")]
    TooMany {
        /// How many there are.
        descriptors: usize,
        /// How many there may be.
        most: usize,
    },
    /// The monitor went away without an answer.
    #[error("the container's monitor ended without an answer")]
    Silent,
    /// There is no process to talk to.
    #[error("the container in `{}` is not running", run_dir.display())]
    NotRunning {
        /// The hot state that was looked at.
        run_dir: PathBuf,
    },
}

impl Error {
    /// What a caller should make of it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotRunning { .. } => Kind::Conflict,
            Self::TooMany { .. } => Kind::InvalidInput,
            Self::Launch { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::Unsupported,
            Self::Io { source, .. } | Self::Connection { source, .. } | Self::Launch { source, .. } => {
                match source.kind() {
                    std::io::ErrorKind::PermissionDenied => Kind::Denied,
                    std::io::ErrorKind::StorageFull => Kind::NoSpace,
                    std::io::ErrorKind::InvalidInput => Kind::InvalidInput,
                    _ => Kind::Internal,
                }
            }
            Self::Protocol(_) | Self::Json { .. } | Self::Silent => Kind::Internal,
        }
    }

    /// The engine's error, with what was being done.
    pub fn during(self, context: impl Into<String>) -> mica_engine::Error {
        mica_engine::Error::Adapter { kind: self.kind(), context: context.into(), source: Box::new(self) }
    }
}
