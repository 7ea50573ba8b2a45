//! What users have already said about registries: Docker's and Podman's files and Mica's own settings, read when they are needed.
//!
//! Nothing here is read before a registry is: a file that nobody can read breaks no command that asks no registry. The files
//! belong to whoever runs Mica and to the system's administrator; they are bounded all the same. Which files there are is
//! said by [`Sources`], because this crate does not look at the environment.
//!
//! Reading order: `text` (a small file), [`credentials`] (who: the formats of `config.json` and `auth.json`, and programs that
//! keep secrets), [`Logins`] (all of them in order, and writing them), `place` (names and prefixes), [`registries`] (where:
//! `registries.conf`), `certificates` (`certs.d`), [`Configured`] (all of it as a [`crate::Directory`]).

mod certificates;
pub mod credentials;
mod directory;
mod helper;
mod logins;
pub(crate) mod place;
pub mod registries;
pub(crate) mod text;
mod write;

use std::ffi::OsString;
use std::path::PathBuf;

pub use directory::{Configured, Summary};
pub use logins::{Kept, Logins, Removed, registry_of};
pub use place::{Mirror, Policy, Prefix};

/// The files that count, all of them optional, and Mica's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Docker's `config.json`: read first, and the one that logins are written to.
    pub docker_config: Option<PathBuf>,
    /// Further files with credentials, in the order in which they are asked.
    pub auth_files: Vec<PathBuf>,
    /// Where credential helpers are found, as `PATH` has it.
    pub search_path: OsString,
    /// Candidates for `registries.conf`: the first that exists counts.
    pub registries_conf: Vec<PathBuf>,
    /// Folders with further `*.conf`, read after it, later ones over earlier ones.
    pub registries_conf_dirs: Vec<PathBuf>,
    /// Folders as `certs.d`: the first that has a folder for the host counts.
    pub certificates: Vec<PathBuf>,
    /// Candidates for `policy.json`: the first that exists counts.
    pub policy_json: Vec<PathBuf>,
    /// The one in place of them that Mica's own configuration names, which has to exist.
    pub named_policy_json: Option<PathBuf>,
    /// What Mica's own configuration says.
    pub policy: Policy,
}
