//! Writable trees over chains: made, mounted, measured, compared, taken away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mica_layer::{Change, ChangeKind, compare_trees};
use mica_storage_api::{ErrorKind, Flow, MountArgs, MountFlags, ObjectKind};
use mica_storage_loader::Driver;

use super::chain::{Chain, key, keys};
use super::reap::BUDGET;
use super::stage::remove;
use crate::container::StorageLimits;
use crate::{Engine, Error, Result};

/// Whether a writable tree must survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatility {
    /// It must.
    Durable,
    /// It is thrown away anyway: `run --rm` and build steps.
    Volatile,
}

/// What a writable tree occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What a writable tree has changed, and where the content can be read.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) list: Vec<Change>,
    /// A tree that holds everything that was added or modified, at its path.
    pub(crate) content: OwnedFd,
}

impl Engine {
    /// Makes an empty writable tree over a chain. A tree with this name that nobody has a row for is replaced.
    pub async fn rw_create(&self, chain: &Chain, id: &str) -> Result<()> {
        let (driver, keys, id) = (chain.driver.clone(), chain.keys.clone(), id.to_owned());
        self.blocking(move |engine| engine.create_rw(&driver, &keys, &id, StorageLimits::default())).await
    }

    /// A detached mount of a writable tree over its chain.
    pub async fn rw_mount(&self, chain: &Chain, id: &str, volatility: Volatility) -> Result<OwnedFd> {
        let (driver, keys, id) = (chain.driver.clone(), chain.keys.clone(), id.to_owned());
        let flags = if volatility == Volatility::Volatile { MountFlags::VOLATILE } else { MountFlags::empty() };
        self.blocking(move |_| mount(&driver, &keys, Some(&id), flags)).await
    }

    /// Takes a writable tree away: O(1), the bytes go later. A missing tree is no error.
    pub async fn rw_remove(&self, driver: &str, id: &str) -> Result<()> {
        let (driver, id) = (driver.to_owned(), id.to_owned());
        self.blocking(move |engine| engine.remove_rw(&driver, &id)).await
    }

    /// A detached read-only mount of a chain.
    pub async fn view_mount(&self, chain: &Chain) -> Result<OwnedFd> {
        let (driver, keys) = (chain.driver.clone(), chain.keys.clone());
        self.blocking(move |_| mount(&driver, &keys, None, MountFlags::READONLY)).await
    }

    /// What a writable tree has changed, in the order of paths.
    pub async fn rw_changes(&self, chain: &Chain, id: &str) -> Result<Vec<Change>> {
        let (driver, keys, id) = (chain.driver.clone(), chain.keys.clone(), id.to_owned());
        self.blocking(move |_| changes(&driver, &keys, &id).map(|changes| changes.list)).await
    }

    /// What a writable tree occupies by itself.
    pub async fn rw_usage(&self, driver: &str, id: &str) -> Result<Usage> {
        let (driver, id) = (driver.to_owned(), id.to_owned());
        self.blocking(move |engine| usage(&engine.driver(&driver)?, ObjectKind::Rw, &id)).await
    }

    /// [`Engine::rw_remove`], blocking. What is small goes at once, the rest by the reaper.
    pub(crate) fn remove_rw(&self, driver: &str, id: &str) -> Result<()> {
        let driver = self.driver(driver)?;
        remove(&driver, ObjectKind::Rw, id)?;
        self.reap_soon(&driver, BUDGET)
    }

    /// [`Engine::rw_create`], blocking.
    pub(crate) fn create_rw(&self, driver: &Driver, parents: &[String], id: &str, limits: StorageLimits) -> Result<()> {
        let again = || self.begin_rw(driver, parents, limits);
        match again()?.commit_rw(id) {
            // What a command left that was cut off before its row.
            Err(Error::Storage { source, .. }) if source.kind() == ErrorKind::Exists => {
                remove(driver, ObjectKind::Rw, id)?;
                again()?.commit_rw(id)
            }
            result => result,
        }
    }
}

/// A detached mount. Blocks.
pub(crate) fn mount(driver: &Driver, parents: &[String], rw: Option<&str>, flags: MountFlags) -> Result<OwnedFd> {
    mount_mapped(driver, parents, rw, flags, None)
}

/// A detached mount whose owners are those that a user namespace maps them to. Blocks.
pub(crate) fn mount_mapped(
    driver: &Driver,
    parents: &[String],
    rw: Option<&str>,
    flags: MountFlags,
    ids: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd> {
    let parents = keys(parents)?;
    let rw_id = rw.map(key).transpose()?;
    let args = MountArgs { rw_id, flags, idmap_userns: ids, ..MountArgs::view(&parents) };
    driver.mount(&args).map_err(|source| Error::Storage { operation: "mount a root file system", source })
}

/// What an object occupies, as far as the driver can tell without help. Blocks.
pub(crate) fn usage(driver: &Driver, kind: ObjectKind, id: &str) -> Result<Usage> {
    match driver.usage(kind, key(id)?) {
        Ok(found) => Ok(Usage { bytes: found.bytes, inodes: found.inodes }),
        Err(error) if error.kind() == ErrorKind::Fallback => Ok(Usage::default()),
        Err(source) => Err(Error::Storage { operation: "measure a snapshot", source }),
    }
}

/// What a writable tree has changed: as the driver knows it, or by walking both trees. Blocks.
pub(crate) fn changes(driver: &Driver, parents: &[String], rw: &str) -> Result<Changes> {
    let mut list = Vec::new();
    let mut content = None;
    let mut lost = None;
    let parent_keys = keys(parents)?;
    let native = driver.changes(key(rw)?, &parent_keys, &mut |change| {
        let kind = match change.kind {
            mica_storage_api::ChangeKind::Added => ChangeKind::Added,
            mica_storage_api::ChangeKind::Modified => ChangeKind::Modified,
            mica_storage_api::ChangeKind::Deleted => ChangeKind::Deleted,
            mica_storage_api::ChangeKind::Opaque => ChangeKind::Opaque,
        };
        // The directory of the first level is the tree itself. A mount of our own would do as well, but overlayfs must
        // not have one upper directory in two mounts, and the container may be running.
        let top_level = change.path.components().count() <= 1;
        if let (None, true, Some(dir)) = (&content, top_level, change.dir) {
            match rustix::io::fcntl_dupfd_cloexec(dir, 0) {
                Ok(dir) => content = Some(dir),
                Err(errno) => lost = Some(errno),
            }
        }
        list.push(Change { path: change.path.to_owned(), kind });
        if lost.is_some() { Flow::Stop } else { Flow::Continue }
    });
    if let Some(errno) = lost {
        return Err(Error::io("open the changes of", rw)(errno.into()));
    }
    match native {
        Ok(()) => {
            let content = match content {
                Some(content) => content,
                // Nothing is read from it then, so any directory does. Of a deletion the directories that lead to it are.
                None if list.is_empty() => rustix::fs::open(
                    Path::new("/"),
                    rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
                    rustix::fs::Mode::empty(),
                )
                .map_err(|errno| Error::io("open", "/")(errno.into()))?,
                None => mount(driver, parents, Some(rw), MountFlags::READONLY)?,
            };
            Ok(Changes { list, content })
        }
        Err(error) if error.kind() == ErrorKind::Fallback => walk(driver, parents, rw),
        Err(source) => Err(Error::Storage { operation: "list changes", source }),
    }
}

fn walk(driver: &Driver, parents: &[String], rw: &str) -> Result<Changes> {
    let content = mount(driver, parents, Some(rw), MountFlags::READONLY)?;
    let below = if parents.is_empty() { None } else { Some(mount(driver, parents, None, MountFlags::READONLY)?) };
    let mut list = Vec::new();
    compare_trees(below.as_ref().map(AsFd::as_fd), content.as_fd(), &mut |change| list.push(change))
        .map_err(|source| Error::Layer { operation: "compare", layer: rw.to_owned(), source })?;
    Ok(Changes { list, content })
}
