//! `storage …`: the drivers that keep layers, as files and at work.

mod info;
mod ls;
mod migrate;
mod probe;
mod scratch;
mod test;

use mica_engine::store::Store;
use mica_storage_api::{Info, Whiteout};
use serde_json::{Map, Value as Json, json};

use crate::args::storage::StorageCommand;
use crate::context::Context;
use crate::failure;
use crate::settings::Settings;

/// `storage …`.
pub(super) async fn run(context: &Context, command: &StorageCommand) -> anyhow::Result<()> {
    match command {
        StorageCommand::Info(args) => info::run(context, args),
        StorageCommand::Ls(args) => ls::run(context, args),
        StorageCommand::Migrate(args) => migrate::run(context, args).await,
        StorageCommand::Probe(args) => probe::run(context, args),
        StorageCommand::Test(args) => test::run(context, args).await,
    }
}

/// The driver of new snapshots as far as it is certain without trying one: the one asked for, else what the store uses.
fn settled(settings: &Settings) -> anyhow::Result<Option<String>> {
    if let Some(asked) = &settings.storage_driver {
        return Ok(Some(asked.clone()));
    }
    Ok(Store::usual_driver(&settings.root)?)
}

/// What an opened driver found out, as fields of JSON.
fn abilities(info: &Info) -> Map<String, Json> {
    let fields = [
        ("Capabilities", json!(info.caps.names().collect::<Vec<_>>())),
        ("Whiteout", whiteout(info).into()),
        ("MaxParents", info.max_parents.into()),
        ("BackingFilesystem", info.backing_fs.clone().into()),
        ("Detail", info.detail.clone().into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How deletions are written into a layer, in the words of `mica_storage.h`.
fn whiteout(info: &Info) -> &'static str {
    match info.whiteout {
        Whiteout::Direct => "direct",
        Whiteout::OverlayTrusted => "overlay-trusted",
        Whiteout::OverlayUser => "overlay-user",
        Whiteout::OciFiles => "oci-files",
    }
}

/// Why a driver is not used, in one line: what it said itself, where it got that far.
fn why(error: mica_storage_loader::Error) -> String {
    match error {
        mica_storage_loader::Error::Call { source, .. } => failure::chain(&source.into()),
        mica_storage_loader::Error::Refused { source, .. } => failure::chain(&source.into()),
        other => failure::chain(&other.into()),
    }
}
