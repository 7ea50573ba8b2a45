//! Flags before the command: where the store is and what keeps it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What applies to every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Storage driver for new snapshots: a name, or the path of a driver library [env: MICA_STORAGE_DRIVER]
    #[arg(short = 's', long, value_name = "NAME")]
    pub storage_driver: Option<String>,
    /// Option of the storage driver (may be repeated)
    #[arg(long = "storage-opt", value_name = "KEY=VALUE")]
    pub storage_options: Vec<String>,
    /// Folder of the store [env: MICA_ROOT]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Folder of running state, which may vanish at reboot [env: MICA_RUN_ROOT]
    #[arg(long, value_name = "DIR")]
    pub run_root: Option<PathBuf>,
    /// Folder with storage drivers: how a mica that was found so finds them for the next one it starts
    #[arg(long = "plugin-dir", value_name = "DIR", hide = true)]
    pub plugin_dirs: Vec<PathBuf>,
    /// Folder with descriptions of devices (CDI) instead of /etc/cdi and /var/run/cdi (may be repeated, the last one wins)
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub cdi_folders: Vec<PathBuf>,
    /// OCI runtime by name or path, instead of the embedded one [env: MICA_RUNTIME]
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,
    /// Config file instead of the usual ones [env: MICA_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much to log
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Log everything
    #[arg(short = 'D', long)]
    pub debug: bool,
}

/// How much to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// Each effect on the system.
    Debug,
    /// What commands do.
    Info,
    /// What a person should act on.
    #[value(alias = "warning")]
    Warn,
    /// What failed.
    #[value(alias = "fatal")]
    Error,
}

impl LogLevel {
    /// The word a log filter takes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
