//! Without privileges, commands run in a user namespace of their user's: which do, and how they get there.

use std::path::Path;

use mica_rootless::{Joined, enter, visit};
use mica_storage_loader::Owners;

use crate::args::Command;
use crate::args::groups::{ContainerCommand, ImageCommand};
use crate::failure::Advice;
use crate::settings::{Privileges, Settings};
use crate::wire;

/// What is known to be root's, as a file in the run root.
pub const OWNERS: &str = "owners";

/// Enters the namespaces of the user who calls, unless there is no need. This process must have one thread.
pub fn join(settings: &Settings, command: &Command) -> anyhow::Result<Option<Joined>> {
    match settings.privileges {
        Privileges::Root => Ok(None),
        Privileges::Namespace => Ok(visit(&settings.run_root).map_err(explained)?),
        Privileges::User if stands_alone(command) => Ok(None),
        Privileges::User => {
            let named = settings.storage_driver.as_deref().filter(|driver| driver.contains('/')).map(Path::new);
            let owners = Owners::witness(&wire::driver_search(settings), named);
            let joined = enter(&settings.run_root, &wire::find_holder()?).map_err(explained)?;
            owners.add_to(&settings.run_root.join(OWNERS))?;
            Ok(Some(joined))
        }
    }
}

/// True for commands that touch no store.
fn stands_alone(command: &Command) -> bool {
    match command {
        Command::Completion(_)
        | Command::Docs(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Search(_)
        | Command::Version(_) => true,
        Command::Image(group) => matches!(group.command, ImageCommand::Copy(_) | ImageCommand::Tags(_)),
        _ => false,
    }
}

/// True for `run`, whose failures have an exit code of their own.
pub fn is_run(command: &Command) -> bool {
    match command {
        Command::Run(_) => true,
        Command::Container(group) => matches!(group.command, ContainerCommand::Run(_)),
        _ => false,
    }
}

fn explained(error: mica_rootless::Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => Advice::new(format!("{:#}", anyhow::Error::new(error)), hint).into(),
        None => error.into(),
    }
}
