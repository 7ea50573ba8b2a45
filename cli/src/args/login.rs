//! `login`.

use clap::Args;

/// Log in to a registry; Docker Hub if none is named.
#[derive(Debug, Args)]
pub struct Login {
    /// Password, which the list of processes then shows to everyone: better `--password-stdin`
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// User name
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,
    /// The registry: HOST or HOST:PORT
    pub server: Option<String>,
}
