//! What a monitor needs of an OCI runtime. Two implementations: libcontainer in this process, and any other by its command
//! line.

use std::path::Path;

use crate::embedded::Embedded;
use crate::external::External;
use crate::failure::Failure;
use crate::stdio::Theirs;

/// A container by its bundle.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    pub id: &'a str,
    pub path: &'a Path,
    pub run_dir: &'a Path,
    /// Where compiled seccomp filters are kept.
    pub cache: Option<&'a Path>,
}

/// How the process's 0, 1 and 2 are made.
#[derive(Debug)]
pub enum Stdio<'a> {
    /// Pipes the monitor made.
    Pipes(Theirs),
    /// A terminal the runtime makes in the container and sends to this socket.
    Console(&'a Path),
}

/// The life of one container.
pub trait OciRuntime {
    /// Makes the container up to the point where only the program is missing. Returns its first process.
    fn create(&mut self, stdio: Stdio<'_>) -> Result<i32, Failure>;
    /// Runs the program; returns when it runs.
    fn start(&mut self) -> Result<(), Failure>;
    /// Removes what the runtime keeps, whether or not the container was made. Its processes are dead.
    fn delete(&mut self);
}

/// The runtime a request names.
pub fn runtime<'a>(bundle: Bundle<'a>, external: Option<&str>) -> Box<dyn OciRuntime + 'a> {
    match external {
        None => Box::new(Embedded::new(bundle)),
        Some(program) => Box::new(External::new(bundle, program)),
    }
}
