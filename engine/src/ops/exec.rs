//! `exec`: one more process in a running container.

use crate::runtime::Session;
use crate::{Engine, Result};

/// What to execute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The argument vector.
    pub args: Vec<String>,
    /// `NAME=value` entries over the container's.
    pub env: Vec<String>,
    /// `user[:group]`; the container's when `None`.
    pub user: Option<String>,
    /// Working directory; the container's when `None`.
    pub workdir: Option<String>,
    /// A terminal.
    pub tty: bool,
    /// Connect stdin.
    pub stdin: bool,
    /// Return once the process runs.
    pub detach: bool,
    /// All capabilities.
    pub privileged: bool,
    /// First size of the terminal, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
}

impl Engine {
    /// Starts a process in a running container.
    pub async fn exec(&self, container: &str, options: ExecOptions) -> Result<Box<dyn Session>> {
        let _ = (container, options);
        todo!()
    }
}
