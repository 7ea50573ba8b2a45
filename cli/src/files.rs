//! Files that commands write for the person who called them, with the modes that person's umask asks for.
//!
//! The engine writes the modes that layers carry, so the umask of the whole program is 0; the caller's is kept here.

use fs_err::os::unix::fs::OpenOptionsExt;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use nix::sys::stat::{Mode, umask};

static CALLERS_UMASK: OnceLock<u32> = OnceLock::new();

/// Sets the umask to 0 and remembers what it was. To be called once, before threads start.
pub fn take_umask() {
    let before = umask(Mode::empty());
    let _ = CALLERS_UMASK.set(before.bits());
}

/// Creates or truncates a file.
pub fn create(path: &Path) -> anyhow::Result<fs_err::File> {
    Ok(options().create(true).truncate(true).open(path)?)
}

/// Creates a file that must not exist, with this text in it.
pub fn create_new(path: &Path, text: &str) -> anyhow::Result<()> {
    options().create_new(true).open(path)?.write_all(text.as_bytes())?;
    Ok(())
}

/// The umask that the program was called with.
pub fn umask_of_caller() -> u32 {
    CALLERS_UMASK.get().copied().unwrap_or(0o022)
}

fn options() -> fs_err::OpenOptions {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).mode(0o666 & !umask_of_caller());
    options
}
