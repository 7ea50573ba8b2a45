//! Whether a driver can limit what a container writes. Asked before anything is made, so that a refusal leaves nothing.

use mica_storage_api::{Caps, StageArgs, StageKind};
use mica_storage_loader::Driver;

use super::chain::key;
use crate::container::StorageLimits;
use crate::store::fresh_id;
use crate::{Error, Kind, Result};

/// A refusal unless the driver keeps these limits on its file system.
///
/// A driver that cannot must refuse them in `stage_begin` as well, before it makes anything; it is asked to, because only
/// the driver knows what its file system lacks and who can supply it.
pub(crate) fn must_keep(driver: &Driver, limits: StorageLimits) -> Result<()> {
    let mut needed = Caps::empty();
    needed.set(Caps::QUOTA_BYTES, limits.size.unwrap_or(0) != 0);
    needed.set(Caps::QUOTA_INODES, limits.inodes.unwrap_or(0) != 0);
    let info = driver.info();
    if info.caps.contains(needed) {
        return Ok(());
    }
    let id = fresh_id();
    let args = StageArgs {
        quota_bytes: limits.size.unwrap_or(0),
        quota_inodes: limits.inodes.unwrap_or(0),
        ..StageArgs::new(StageKind::Rw, key(&id)?, &[])
    };
    let reason = match driver.stage_begin(&args) {
        Err(mica_storage_loader::Error::Call { source, .. }) => source.message,
        Err(error) => error.to_string(),
        Ok(stage) => {
            stage.abort();
            "the driver does not claim it".to_owned()
        }
    };
    let what = if info.caps.contains(needed & Caps::QUOTA_BYTES) { "number of inodes" } else { "size" };
    Err(Error::refused(
        Kind::Unsupported,
        format!(
            "the {what} of a container cannot be limited by the storage driver `{}` on {}: {reason}",
            driver.name(),
            info.backing_fs
        ),
    )
    .with_hint("leave out `--storage-opt`, and `storage.container_size` in the config, to go without a limit"))
}
