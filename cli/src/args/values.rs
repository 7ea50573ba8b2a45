//! Value parsers whose refusals clap prints with the flag's name.

use mica_engine::container::{LogDriver, NetworkMode};

/// `--network`.
pub fn network(text: &str) -> Result<NetworkMode, String> {
    match text {
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => Err("this version of mica has no bridge networks: use `none` or `host`".to_owned()),
    }
}

/// `--log-driver`.
pub fn log_driver(text: &str) -> Result<LogDriver, String> {
    match text {
        "json-file" => Ok(LogDriver::JsonFile),
        "none" => Ok(LogDriver::None),
        _ => Err("this version of mica logs to `json-file` or `none`".to_owned()),
    }
}

/// `-p`.
pub fn publish(_: &str) -> Result<String, String> {
    Err("publishing a port needs a bridge network, which this version of mica lacks: use `--network host`".to_owned())
}

/// `--restart`.
pub fn restart(text: &str) -> Result<String, String> {
    match text {
        "no" => Ok(text.to_owned()),
        _ => {
            Err("this version of mica does not restart containers: use `no`, or a unit of your init system".to_owned())
        }
    }
}

/// `--userns`.
pub fn userns(text: &str) -> Result<String, String> {
    match text {
        "host" => Ok(text.to_owned()),
        _ => Err("this version of mica has no user namespaces for containers: use `host`".to_owned()),
    }
}

/// `--detach-keys`.
pub fn detach_keys(text: &str) -> Result<crate::terminal::DetachKeys, String> {
    crate::terminal::DetachKeys::parse(text)
}
