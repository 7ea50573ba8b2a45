//! What can go wrong with networks on this machine, and how the engine is told.

use std::io;
use std::path::PathBuf;

use mica_engine::{Error as EngineError, Kind};
use rustix::io::Errno;

/// An operation on this machine's networks that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a request about links, addresses or routes.
    #[error("cannot {operation}")]
    Link {
        /// What was asked for.
        operation: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused packet rules.
    #[error("cannot {operation}")]
    Rules {
        /// What was asked for.
        operation: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A call on a file failed.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// The verb.
        operation: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A record could not be read or written.
    #[error("`{}` is damaged", path.display())]
    Record {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Said in full.
    #[error("{message}")]
    Refused {
        /// What a caller should make of it.
        kind: Kind,
        /// The reason.
        message: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A refusal with a message of its own.
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Self::Refused { kind, message: message.into() }
    }

    /// Wraps what the kernel said to a request about links.
    pub fn link(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Link { operation, source }
    }

    /// Wraps what a call on a file said.
    pub fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }

    /// The kernel's number, where it had one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Link { source, .. } | Self::Rules { source, .. } | Self::File { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Record { .. } => Kind::Corrupt,
            Self::Link { source, .. } | Self::Rules { source, .. } | Self::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Kind::Denied,
                io::ErrorKind::StorageFull => Kind::NoSpace,
                _ if is_missing(source) => Kind::Unsupported,
                _ => Kind::Internal,
            },
        }
    }

    /// What the machine lacks, when that is the reason.
    fn lack(&self) -> Option<&'static str> {
        match self {
            Self::Link { source, .. } | Self::Rules { source, .. } | Self::File { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("CAP_NET_ADMIN and CAP_SYS_ADMIN are needed in the namespace of the host's network")
            }
            Self::Rules { source, .. } if is_missing(source) => Some(
                "the kernel has no nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ)",
            ),
            Self::Link { source, .. } if is_missing(source) => {
                Some("the kernel has no such interfaces (CONFIG_BRIDGE, CONFIG_VETH, CONFIG_MACVLAN)")
            }
            _ => None,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    let missing = [Errno::OPNOTSUPP, Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT, Errno::NOSYS];
    error.raw_os_error().is_some_and(|code| missing.contains(&Errno::from_raw_os_error(code)))
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        const WITHOUT: &str = "`--network none` and `--network host` work without";
        match (error.lack(), error) {
            (Some(lack), error) => {
                let mut message = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    message.push_str(&format!(": {cause}"));
                    source = cause.source();
                }
                EngineError::refused(error.kind(), format!("{message}: {lack}")).with_hint(WITHOUT)
            }
            (None, Error::Refused { kind, message }) => EngineError::refused(kind, message),
            (None, error) => {
                let context = error.to_string();
                match error {
                    Error::Link { source, .. } | Error::Rules { source, .. } => {
                        EngineError::Adapter { kind: Kind::Internal, context, source: Box::new(source) }
                    }
                    Error::File { operation, path, source } => EngineError::Io { operation, path, source },
                    other => EngineError::Adapter { kind: other.kind(), context, source: Box::new(other) },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_lacks_is_named_with_a_way_round() {
        let denied = Error::link("make a bridge")(io::Error::from_raw_os_error(1));
        let told = EngineError::from(denied);
        assert_eq!(told.kind(), Kind::Denied);
        assert!(told.to_string().contains("CAP_NET_ADMIN"), "{told}");
        assert!(told.hint().is_some_and(|hint| hint.contains("--network none")));
        let rules = Error::Rules { operation: "x".into(), source: Errno::PROTONOSUPPORT.into() };
        assert!(EngineError::from(rules).to_string().contains("CONFIG_NF_TABLES"));
        let busy = EngineError::from(Error::refused(Kind::Conflict, "taken"));
        assert_eq!((busy.kind(), busy.to_string().as_str()), (Kind::Conflict, "taken"));
    }
}
