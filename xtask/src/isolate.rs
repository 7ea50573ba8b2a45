//! Mounts made by integration runs stay in a mount namespace of their own, which the kernel empties when they end.

use std::process::Command;

use anyhow::{Context, Result};

/// Set in the re-executed xtask.
const MARK: &str = "MICA_XTASK_ISOLATED";

/// Runs this very command again inside a private mount namespace; returns false in the copy, which then does the work.
pub fn reexec() -> Result<bool> {
    if std::env::var_os(MARK).is_some() {
        return Ok(false);
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1));
    let status = command.env(MARK, "1").status().context("cannot start `unshare`")?;
    anyhow::ensure!(status.success(), "the isolated run ended with {status}");
    Ok(true)
}
