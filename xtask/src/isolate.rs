//! Mounts made by tests stay in a mount namespace of their own, which the kernel empties when they end.
//!
//! In it mounts are shared, as systemd has them on its machines: whoever does not take care mounts on the "host" then, and the
//! tests see it.

use std::process::Command;

use anyhow::{Context, Result};

/// Set in the re-executed xtask.
const MARK: &str = "MICA_XTASK_ISOLATED";

/// Runs this very command again inside a mount namespace; returns false in the copy, which then does the work.
pub fn reexec() -> Result<bool> {
    if std::env::var_os(MARK).is_some() {
        return Ok(false);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(MARK, "1");
    let status = wrapped(&command).status().context("cannot start `unshare`")?;
    anyhow::ensure!(status.success(), "the isolated run ended with {status}");
    Ok(true)
}

/// The same command in a mount namespace; as it is for users, who may not make one.
pub fn wrapped(command: &Command) -> Command {
    let mut within = if nix::unistd::geteuid().is_root() {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "--"]);
        unshare.args(["sh", "-c", "mount --make-rshared / && exec \"$0\" \"$@\""]).arg(command.get_program());
        unshare
    } else {
        Command::new(command.get_program())
    };
    within.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => within.env(name, value),
            None => within.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        within.current_dir(directory);
    }
    within
}
