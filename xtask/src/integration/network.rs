//! `integration network`: what is said of networks, shown by packets, in a network namespace of its own.
//!
//! Another namespace, `outside`, is the neighbour of the host: it has a web server, and a name server that knows one answer.

mod checks;
pub mod ground;
mod serve;

use anyhow::{Context, Result};

use crate::{output, sh};
use ground::Ground;

pub use serve::{TASK, serve};

/// Set in the copy of xtask that runs in the namespace.
const MARK: &str = "MICA_XTASK_NETWORK";

/// Runs every check; the caller is in a mount namespace of its own.
pub fn run() -> Result<()> {
    if std::env::var_os(MARK).is_none() {
        let mut command = sh::command(&["unshare", "--net", "--"]);
        command.arg(std::env::current_exe()?).args(["integration", "network"]).env(MARK, "1");
        return sh::run(&mut command);
    }
    let ground = Ground::new().context("cannot make the neighbour of the host")?;
    for (name, check) in checks::ALL {
        output::part(name, || {
            check(&ground)?;
            // The kernel takes a pair of interfaces away some time after the last holder of its namespace has gone, so
            // a check that compares what is there with what was there must not begin before.
            Ground::until("the containers' interfaces are gone", || Ok(Ground::pairs()? == ["up0"]))
        })?;
    }
    output::part("nothing is left", || ground.is_bare())
}
