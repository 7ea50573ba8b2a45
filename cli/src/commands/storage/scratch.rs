//! Folders in which drivers are tried: below the store, so that the file system is the store's, and gone afterwards.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mica_storage_loader::{Driver, OpenArgs, Plugin};
use rustix::fs::{FlockOperation, flock};

use crate::settings::Settings;

const PREFIX: &str = "scratch-";

/// A folder that is removed with all it holds. It is held by an flock, so that one whose maker was killed is known.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    _lock: fs_err::File,
}

impl Scratch {
    /// Makes one in `folder`, after removing what killed processes left there.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        remove_left(folder);
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let path = folder.join(format!("{PREFIX}{}-{}{:09}", std::process::id(), now.tv_sec, now.tv_nsec));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make a scratch folder in `{}`", folder.display()))?;
        let lock = fs_err::File::open(&path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("cannot lock `{}`", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// One on the file system of the store, whether or not there is a store yet.
    pub(super) fn of_store(settings: &Settings) -> anyhow::Result<Self> {
        let nearest = settings.root.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        Self::new(nearest)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a broken driver made undeletable stays, and the next command tries again.
        let _ = fs_err::remove_dir_all(&self.path);
    }
}

fn remove_left(folder: &Path) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let Ok(dir) = fs_err::File::open(entry.path()) else { continue };
        if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}

/// Opens a driver in a folder, with the options that name it.
pub(super) fn open(plugin: &Plugin, root: &Path, settings: &Settings) -> mica_storage_loader::Result<Driver> {
    let options = mica_engine::storage::options_of(plugin.name(), &options_for(plugin.name(), settings));
    plugin.open(&OpenArgs { options: &options, rootless: settings.privileges.are_confined(), ..OpenArgs::new(root) })
}

/// An option that names no driver is for the one that was asked for.
fn options_for(driver: &str, settings: &Settings) -> Vec<String> {
    let asked = settings.storage_driver.as_deref().is_some_and(|asked| asked == driver);
    let names_one = |option: &&String| option.split_once('=').is_some_and(|(key, _)| key.contains('.'));
    settings.storage_options.iter().filter(|option| asked || names_one(option)).cloned().collect()
}
