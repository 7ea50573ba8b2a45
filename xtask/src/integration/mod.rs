//! `cargo xtask integration NAME`: whole stories against real parts, each in a store and a mount namespace of its own.

mod bundles;
mod concurrency;
mod containers;
mod http;
mod interop;
pub mod network;
mod registry;
mod rootless;
pub mod story;

pub use http::free_port;
pub use interop::Daemon;

use anyhow::{Result, bail};

use crate::{isolate, output, workspace};

/// The drivers every story is told on.
const DRIVERS: [&str; 3] = ["overlay", "vfs", "btrfs"];

/// Dispatches by name; without `--storage-driver` a story is told on each driver.
pub fn run(args: &[String]) -> Result<()> {
    let Some((name, rest)) = args.split_first() else {
        bail!("which one? story | concurrency | containers | bundles | interop | network | rootless | registry | all")
    };
    let drivers: Vec<&str> = match rest {
        [] => DRIVERS.to_vec(),
        [flag, driver] if flag == "--storage-driver" => vec![driver.as_str()],
        [joined] if joined.starts_with("--storage-driver=") => vec![&joined["--storage-driver=".len()..]],
        _ => bail!("usage: cargo xtask integration NAME [--storage-driver D]"),
    };
    if isolate::reexec()? {
        return Ok(());
    }
    workspace::mica_binary().or_else(|_| workspace::build_release())?;
    let tell = |name: &str| -> Result<()> {
        match name {
            "story" => {
                drivers.iter().try_for_each(|driver| output::part(&format!("story on {driver}"), || story::run(driver)))
            }
            "concurrency" => drivers
                .iter()
                .try_for_each(|driver| output::part(&format!("concurrency on {driver}"), || concurrency::run(driver))),
            "containers" => drivers
                .iter()
                .try_for_each(|driver| output::part(&format!("containers on {driver}"), || containers::run(driver))),
            "bundles" => output::part("bundles", bundles::run),
            "interop" => output::part("interop", interop::run),
            "network" => output::part("network", network::run),
            "rootless" => output::part("rootless", rootless::run),
            "registry" => output::part("registry", registry::run),
            other => bail!(
                "no integration run `{other}`: story | concurrency | containers | bundles | interop | network | rootless \
                 | registry | all"
            ),
        }
    };
    match name.as_str() {
        "all" => ["story", "concurrency", "containers", "bundles", "interop", "network", "rootless", "registry"]
            .into_iter()
            .try_for_each(tell),
        name => tell(name),
    }
}
