//! Local volumes: directories below `volumes/`, and their rows.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_layer::beneath::{self, NewDir};
use mica_layer::{CopyOptions, copy_into};
use rusqlite::{Connection, Transaction, params};
use rustix::fs::{FlockOperation, Mode, OFlags, open};

use super::{Store, private_directory};
use crate::container::VolumeMount;
use crate::{Error, Result};

impl Store {
    /// Where a volume's files are.
    pub(crate) fn volume_data(&self, name: &str) -> PathBuf {
        self.root().join("volumes").join(name).join("_data")
    }

    /// Makes a volume if it is missing and fills it, when it is empty, with what `image` has at its target.
    pub(crate) fn prepare_volume(&self, volume: &VolumeMount, image: impl AsFd) -> Result<()> {
        let directory = self.root().join("volumes").join(&volume.name);
        private_directory(&directory)?;
        let fail = |verb: &'static str| {
            let directory = directory.clone();
            move |errno: rustix::io::Errno| Error::io(verb, directory)(errno.into())
        };
        let above: OwnedFd = open(&directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(fail("open"))?;
        // Two containers that share a new volume: one fills it.
        rustix::io::retry_on_intr(|| rustix::fs::flock(&above, FlockOperation::LockExclusive)).map_err(fail("lock"))?;
        let data = beneath::mkdir_all(&above, Path::new("_data"), NewDir::default())
            .map_err(|source| Error::Layer { operation: "make volume", layer: volume.name.clone(), source })?;
        if !volume.copy_up || !is_empty(&data).map_err(fail("list"))? {
            return Ok(());
        }
        let target = Path::new(volume.target.trim_start_matches('/'));
        match beneath::open_dir(&image, target) {
            Ok(_) => {}
            // Not in the image, or not a directory there: the volume stays empty.
            Err(_) => return Ok(()),
        }
        let options = CopyOptions { follow: true, ..CopyOptions::default() };
        copy_into(image.as_fd(), target, above.as_fd(), Path::new("_data"), &options)
            .map(drop)
            .map_err(|source| Error::Layer { operation: "fill volume", layer: volume.name.clone(), source })
    }

    /// Removes a volume's directory; a missing one is no error.
    pub(crate) fn remove_volume_directory(&self, name: &str) -> Result<()> {
        super::containers::remove_directory(&self.root().join("volumes").join(name))
    }
}

/// Records a volume; one that is known stays.
pub(crate) fn insert(db: &Transaction<'_>, volume: &VolumeMount, created: &str) -> Result<()> {
    let record = serde_json::json!({ "anonymous": volume.anonymous, "driver": "local" }).to_string();
    db.execute(
        "INSERT OR IGNORE INTO volumes (name, created, record) VALUES (?1, ?2, ?3)",
        params![volume.name, created, record],
    )
    .map(drop)
    .map_err(Error::database("record a volume"))
}

/// Forgets a volume.
pub(crate) fn delete(db: &Transaction<'_>, name: &str) -> Result<()> {
    db.execute("DELETE FROM volumes WHERE name = ?1", [name]).map(drop).map_err(Error::database("remove a volume"))
}

/// True when a volume has a row.
pub(crate) fn is_known(db: &Connection, name: &str) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM volumes WHERE name = ?1")
        .and_then(|mut statement| statement.exists([name]))
        .map_err(Error::database("look up a volume"))
}

fn is_empty(directory: impl AsFd) -> rustix::io::Result<bool> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
