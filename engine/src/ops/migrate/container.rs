//! One container's move: a new writable tree on the new driver gets what the old one changed, then one row says where it is.
//!
//! The claim on the container's directory is held throughout, so nobody starts, copies into or removes it meanwhile. A
//! process that is killed before the row leaves a tree on the new driver that no row names, and one that is killed after it
//! a tree on the old driver: either is garbage, and the container is whole on the other.

use std::os::fd::AsFd as _;

use mica_layer::copy_changes;
use mica_storage_api::{MountFlags, ObjectKind};
use mica_storage_loader::Driver;

use crate::container::ContainerRecord;
use crate::storage::{Chain, changes, limits, mount, remove};
use crate::store::{Flush, containers};
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Moves a container that does not run. One that is there already is left alone. Blocks.
    pub(super) fn move_container(&self, id: &str, target: &Driver) -> Result<()> {
        let (_claim, record) = self.store().claim_container(id)?;
        if record.driver == target.name() {
            return Ok(());
        }
        if self.state_of_claimed(&record)?.is_running() {
            return Err(
                Error::refused(Kind::Conflict, "it is running").with_hint("stop it and run the same command again")
            );
        }
        limits::must_keep(target, record.spec.storage)?;
        let old = self.driver(&record.driver)?;
        let below = self.chain_on(&old, &record.diff_ids)?;
        let chain = self.chain_on(target, &record.diff_ids)?;
        let made = self
            .copy_tree(&below, &chain, &record)
            .and_then(|()| self.flush(target))
            .and_then(|()| self.store().write(Flush::Now, |db| containers::set_driver(db, id, target.name())));
        match made {
            Ok(()) => {
                // The same driver may have had it before, with another figure.
                self.store().forget_container_figure(id);
                self.forget_tree(&old, id);
                Ok(())
            }
            // A commit that failed may have reached the log: recovery decides which of the trees is the container's.
            Err(error) if error.leaves_commit_open() => Err(error),
            Err(error) => {
                self.forget_tree(target, id);
                Err(error)
            }
        }
    }

    /// Takes away a tree that is not the container's, or not any more.
    fn forget_tree(&self, driver: &Driver, id: &str) {
        if let Err(error) = self.remove_rw(driver.name(), id) {
            tracing::debug!(container = id, %error, "left to recovery");
        }
    }

    /// Through a mount, as the container itself would make these changes: so the driver writes its own marks.
    fn copy_tree(&self, below: &Chain, chain: &Chain, record: &ContainerRecord) -> Result<()> {
        let id = record.id.as_str();
        let changed = changes(&below.driver, &below.keys, id)?;
        // What an attempt left that was cut off.
        remove(&chain.driver, ObjectKind::Rw, id)?;
        self.create_rw(&chain.driver, &chain.keys, id, record.spec.storage)?;
        let to = mount(&chain.driver, &chain.keys, Some(id), MountFlags::empty())?;
        copy_changes(&changed.list, changed.content.as_fd(), to.as_fd()).map(drop).map_err(|source| Error::Layer {
            operation: "copy the changes of",
            layer: id.to_owned(),
            source,
        })
    }
}
