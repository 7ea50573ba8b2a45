//! What can go wrong on the way into a user namespace, and what a user can do about it.

use std::io;
use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no user namespace to work in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user has no range of subordinate users or groups.
    #[error("user `{user}` has no subordinate {kind}s in `{}`", path.display())]
    NoIds {
        /// Whose range is missing.
        user: String,
        /// `user ID` or `group ID`.
        kind: &'static str,
        /// The file that would have it.
        path: PathBuf,
    },
    /// A program that may write ID maps is not installed, or refused.
    #[error("`{program}` cannot map the subordinate IDs: {reason}")]
    Mapping {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
        /// What it said, or why it did not run.
        reason: String,
    },
    /// The kernel refused a user namespace.
    #[error("cannot make a user namespace")]
    Refused {
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The holder said why it cannot go on.
    #[error("{message}")]
    Holder {
        /// In its words.
        message: String,
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
}

impl Error {
    /// Completes an error of a call on a file.
    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { operation, path, source }
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NoIds { user, path, .. } => Some(format!(
                "as root add the line `{user}:100000:65536` to `{}`, with a first number that is above every other range's \
                 end there (`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` does it for both files)",
                path.display()
            )),
            Error::Mapping { program, .. } => Some(format!(
                "`{program}` comes with the package uidmap (Debian, Ubuntu) or shadow-utils, with its set-user-ID bit"
            )),
            Error::Refused { .. } => Some(
                "this kernel may forbid it to users: see the settings user.max_user_namespaces, \
                 kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
                    .into(),
            ),
            Error::Holder { .. } | Error::File { .. } => None,
        }
    }
}
