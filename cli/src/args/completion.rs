//! `completion`.

use clap::Args;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
}
