//! The flags of logs that `run` and `create` share.

use clap::Args;
use mica_engine::container::LogDriver;

/// Where the container's output is kept.
#[derive(Debug, Args)]
pub struct LoggingArgs {
    /// Where output goes: json-file, local, journald or none
    #[arg(long, value_name = "DRIVER", value_parser = driver)]
    pub log_driver: Option<LogDriver>,
    /// Option of the log driver: max-size, max-file, labels, env, tag (may be repeated)
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub log_options: Vec<String>,
}

fn driver(text: &str) -> Result<LogDriver, String> {
    let drivers = [LogDriver::JsonFile, LogDriver::Local, LogDriver::Journald, LogDriver::None];
    let found = drivers.into_iter().find(|driver| driver.word() == text);
    found.ok_or_else(|| "this version of mica logs to `json-file`, `local`, `journald` or `none`".to_owned())
}
