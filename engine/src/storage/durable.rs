//! When what was made is on the disk: blobs before the row that acknowledges them, unpacked layers some time later.
//!
//! A blob is the truth about its layer, so a layer that was unpacked from a durable blob need not be waited for. Its row says
//! so (`boot`) until the reaper has flushed it; a power cut before that costs the next boot an unpacking and loses nothing.

use std::path::Path;

use mica_layer::Digest;
use mica_storage_api::Caps;
use mica_storage_loader::Driver;
use rustix::fs::{Mode, OFlags, fstat, open, statfs, syncfs};

use crate::store::layers::{self, OnDisk};
use crate::store::{Flush, boot_id, fresh_id};
use crate::{Durability, Engine, Error, Result};

impl Engine {
    /// Brings everything that was written to the disk: one call for all files of the store and of the driver. Blocks.
    pub(crate) fn flush(&self, driver: &Driver) -> Result<()> {
        if self.options().durability == Durability::None {
            return Ok(());
        }
        let content = self.store().root().join("content");
        let own = self.driver_root(driver.name());
        let flushed = flush_filesystem(&content, None)?;
        if !driver.info().caps.contains(Caps::SELF_DURABLE) {
            flush_filesystem(&own, Some(flushed))?;
        }
        Ok(())
    }

    /// Brings blobs to the disk, with everything else where that cannot be left for later. Blocks.
    pub(crate) fn flush_blobs(&self, driver: &Driver, blobs: &[Digest]) -> Result<OnDisk> {
        if !self.layers_may_wait()? {
            self.flush(driver)?;
            return Ok(OnDisk::All);
        }
        self.store().flush_blobs(blobs)?;
        Ok(OnDisk::Blobs(boot_id()?))
    }

    /// True when a layer's blob is flushed and its unpacked form is left to the reaper. It takes a file system with one
    /// journal in one order: a flushed file brings along the names of everything above it, as one `syncfs` did.
    pub(crate) fn layers_may_wait(&self) -> Result<bool> {
        const EXT4: i64 = 0xef53;
        const XFS: i64 = 0x5846_5342;
        if self.options().durability == Durability::None || !self.has_reaper() {
            return Ok(false);
        }
        let content = self.store().root().join("content");
        let found = statfs(&content).map_err(|errno| Error::io("look at the file system of", content)(errno.into()))?;
        Ok(matches!(found.f_type & 0xffff_ffff, EXT4 | XFS))
    }

    /// Starts the reaper where layers are left to it. Blocks for about a millisecond.
    pub(crate) fn settle_soon(&self) -> Result<()> {
        if self.layers_may_wait()? {
            self.start_reaper();
        }
        Ok(())
    }

    /// Brings to the disk what was left for later. Blocks.
    pub(crate) fn settle_layers(&self) -> Result<()> {
        for name in self.drivers_on_disk()? {
            if !self.store().read(|db| layers::has_unflushed(db, &name))? {
                continue;
            }
            let driver = self.driver(&name)?;
            // A mark of its own, so that what is made again during the flush is not taken for what was flushed.
            let mark = fresh_id();
            self.store().write(Flush::Later, |db| layers::begin_flush(db, &name, &mark))?;
            self.flush(&driver)?;
            self.store().write(Flush::Later, |db| layers::end_flush(db, &mark))?;
        }
        Ok(())
    }
}

/// Flushes the file system of a directory, unless it is the one that was just flushed.
fn flush_filesystem(path: &Path, done: Option<u64>) -> Result<u64> {
    let fail = |errno: rustix::io::Errno| Error::io("flush the file system of", path)(errno.into());
    let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    let device = fstat(&directory).map_err(fail)?.st_dev;
    if done != Some(device) {
        syncfs(&directory).map_err(fail)?;
    }
    Ok(device)
}
