//! `integration rootless`: a user without privileges, who is made for it, has containers like everybody else.
//!
//! The user, the subordinate IDs and `/dev/net/tun` are files bound over the machine's in a mount namespace, and the host of
//! the checks is a network namespace with a neighbour, as in `integration network`.

mod checks;
mod user;

use anyhow::{Context, Result};

use super::network::ground::Ground;
use crate::{output, sh};
use user::User;

/// Set in the copy of xtask that runs in the namespace.
const MARK: &str = "MICA_XTASK_ROOTLESS";

/// Runs every check; the caller is in a mount namespace of its own.
pub fn run() -> Result<()> {
    if std::env::var_os(MARK).is_none() {
        let mut command = sh::command(&["unshare", "--net", "--"]);
        command.arg(std::env::current_exe()?).args(["integration", "rootless"]).env(MARK, "1");
        return sh::run(&mut command);
    }
    Ground::neighbour().context("cannot make the neighbour of the host")?;
    let user = User::new().context("cannot make the user")?;
    for (name, check) in checks::ALL {
        output::part(name, || check(&user))?;
    }
    output::part("nothing is left", || user.is_bare())
}
