//! `storage migrate`: a line for each image and container, and where new containers go from now on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mica_engine::ops::migrate::{Destination, MigrateProgress, MigrateRequest, Migrated, Object, Outcome};

use crate::args::storage::Migrate;
use crate::context::Context;
use crate::failure::Status;
use crate::output::{self, human};

/// `storage migrate`.
pub(super) async fn run(context: &Context, args: &Migrate) -> anyhow::Result<()> {
    let request =
        MigrateRequest { to: args.to.clone(), names: args.names.clone(), keep: args.keep, dry_run: args.dry_run };
    let lines = Arc::new(Lines { quiet: args.quiet, bytes: AtomicU64::new(0) });
    let migrated = context.engine()?.migrate(request, Arc::clone(&lines) as Arc<dyn MigrateProgress>).await?;
    if !args.quiet && args.dry_run {
        let bytes = human::size(lines.bytes.load(Ordering::Relaxed));
        output::line(format!("About {bytes} would be written to driver {}", migrated.driver))?;
    } else if !args.quiet {
        output::line(told(&migrated))?;
    }
    if migrated.stayed == 0 { Ok(()) } else { Err(Status(1).into()) }
}

/// Where new containers go.
fn told(migrated: &Migrated) -> String {
    match &migrated.new_containers {
        Destination::Switched => format!("New images and containers go to driver {}", migrated.driver),
        Destination::Unchanged(driver) => {
            format!("New images still go to driver {driver}, and new containers to where their image is")
        }
        Destination::Told(driver) => format!(
            "New images and containers still go to driver {driver}, because a flag, the environment or the config names it"
        ),
    }
}

struct Lines {
    quiet: bool,
    bytes: AtomicU64,
}

impl MigrateProgress for Lines {
    fn done(&self, object: &Object, outcome: Outcome) {
        let line = match outcome {
            Outcome::Moved(from) => format!("{object}: moved from {}", from.join(", ")),
            Outcome::Planned(from, bytes) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                format!("{object}: would come from {}, {}", from.join(", "), human::size(bytes))
            }
            Outcome::There => format!("{object}: is there"),
            Outcome::Stays(error) => {
                return output::error(&anyhow::Error::new(error).context(format!("{object} stays where it is")));
            }
        };
        if !self.quiet {
            // Who closes the pipe wants no more lines, and the rest moved all the same.
            let _ = output::line(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_where_new_containers_go() {
        let told = |new_containers| super::told(&Migrated { driver: "btrfs".into(), stayed: 0, new_containers });
        assert_eq!(told(Destination::Switched), "New images and containers go to driver btrfs");
        assert!(told(Destination::Unchanged("vfs".into())).starts_with("New images still go to driver vfs"));
        assert!(told(Destination::Told("vfs".into())).contains("still go to driver vfs, because a flag"));
    }
}
