//! `generate …`: text for other programs.

use clap::{Args, Subcommand};

/// `generate …`.
#[derive(Debug, Args)]
pub struct Generate {
    /// The command.
    #[command(subcommand)]
    pub command: GenerateCommand,
}

/// Commands that write configuration for other programs.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// Print a systemd unit: for one container, or for all with a restart policy
    Systemd(Systemd),
}

/// Print a systemd unit.
///
/// Without a container, the unit starts with the machine what `--restart always` and `--restart unless-stopped` ask for:
/// `mica generate systemd > /etc/systemd/system/mica-restart.service && systemctl enable mica-restart`.
#[derive(Debug, Args)]
pub struct Systemd {
    /// When systemd starts the container again
    #[arg(long, value_name = "POLICY", default_value = "on-failure", value_parser = ["no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"])]
    pub restart_policy: String,
    /// The container
    pub container: Option<String>,
}
