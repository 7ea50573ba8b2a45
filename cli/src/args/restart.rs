//! `--restart` of `run` and `create`.

use clap::Args;
use mica_engine::container::RestartPolicy;

/// What follows when the container has ended.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// Start the container again when it has ended: no, `on-failure[:RETRIES]`, always or unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true, value_parser = policy)]
    pub restart: RestartPolicy,
}

/// A restart policy.
pub fn policy(text: &str) -> Result<RestartPolicy, String> {
    RestartPolicy::parse(text).map_err(|error| error.to_string())
}
