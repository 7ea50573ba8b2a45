//! `rename`.

use clap::Args;

/// Rename a container.
#[derive(Debug, Args)]
pub struct Rename {
    /// The container
    pub container: String,
    /// Its new name
    pub name: String,
}
