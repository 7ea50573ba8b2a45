//! `logout`: forgets a registry's credential.

use mica_registry::config::registry_of;

use crate::args::logout::Logout;
use crate::context::Context;
use crate::{output, wire};

/// `logout`.
pub(super) async fn run(context: &Context, args: &Logout) -> anyhow::Result<()> {
    let registry = registry_of(args.server.as_deref())?;
    let removed = wire::logins(&context.settings).erase(&registry).await?;
    // The name under which Docker files its own.
    let shown = if registry == "docker.io" { "https://index.docker.io/v1/" } else { &registry };
    let word = if removed.any { "Removing login credentials for" } else { "Not logged in to" };
    output::line(format!("{word} {shown}"))?;
    for path in removed.still_in {
        output::warn(format!(
            "WARNING: '{}', which Podman keeps, still has credentials for {registry} that are used; `podman logout` removes them",
            path.display()
        ));
    }
    Ok(())
}
