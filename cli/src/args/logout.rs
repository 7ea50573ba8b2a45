//! `logout`.

use clap::Args;

/// Log out of a registry; Docker Hub if none is named.
#[derive(Debug, Args)]
pub struct Logout {
    /// The registry: HOST or HOST:PORT
    pub server: Option<String>,
}
