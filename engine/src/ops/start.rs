//! `start`: a created or exited container gets its root mounted, its bundle written and its monitor started.

use crate::runtime::Session;
use crate::{Engine, Result};

/// How to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// First size of the terminal, rows and columns.
    pub terminal_size: Option<(u16, u16)>,
    /// True when no client stays: a container with `--rm` is then removed by its monitor.
    pub detach: bool,
}

/// A container that has just started.
pub struct Started {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Attached before the process ran, so it sees the first byte of output. Drop it to detach.
    pub session: Box<dyn Session>,
    /// True when the process has a terminal.
    pub tty: bool,
    /// True when the process reads its stdin from clients.
    pub stdin_open: bool,
}

impl Engine {
    /// Starts a container by ID, prefix or name. One that runs already is left alone and attached to.
    pub async fn start(&self, container: &str, options: StartOptions) -> Result<Started> {
        let _ = (container, options);
        todo!()
    }
}
