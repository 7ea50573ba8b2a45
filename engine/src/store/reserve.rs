//! Room that is kept for making room: on a full disk even removing writes a transaction and makes lock files.
//!
//! `db/reserve/` holds some bytes and some inodes. A command that removes lets them go when the disk is nearly full, and
//! a later one takes them back when there is plenty.

use std::path::PathBuf;

use rustix::fs::{FallocateFlags, Mode, OFlags, StatVfs, fallocate, open, statvfs};

use super::{Store, private_directory};
use crate::Result;

/// The transaction's log and what a checkpoint adds to the database.
const BYTES: u64 = 2 << 20;
/// Locks of some layers at once, and what a sweep renames into the trash.
const INODES: usize = 64;
/// Where a disk counts as nearly full: so many times the reserve.
const NEARLY: u64 = 2;
/// Where there is plenty.
const PLENTY: u64 = 16;

impl Store {
    /// Lets the reserve go when the disk is nearly full. What fails here fails again, with a message, at what follows.
    pub(crate) fn make_room(&self) {
        if self.room(NEARLY) == Some(false) {
            let _ = fs_err::remove_dir_all(self.reserve());
        }
    }

    /// Takes the reserve when there is plenty. A disk on which that fails is one that is short of space.
    pub(crate) fn keep_room(&self) {
        if !self.reserve().exists() && self.room(PLENTY) == Some(true) && self.fill_reserve().is_err() {
            let _ = fs_err::remove_dir_all(self.reserve());
        }
    }

    fn fill_reserve(&self) -> Result<()> {
        let directory = self.reserve();
        private_directory(&directory)?;
        let fail = |errno: rustix::io::Errno| crate::Error::io("reserve space in", &directory)(errno.into());
        for number in 0..INODES {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            let file = open(directory.join(number.to_string()), flags, Mode::RUSR | Mode::WUSR).map_err(fail)?;
            if number == 0 {
                fallocate(&file, FallocateFlags::empty(), 0, BYTES).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Whether there is so many times the reserve. File systems that make inodes as they go report none.
    fn room(&self, times: u64) -> Option<bool> {
        let StatVfs { f_bavail, f_frsize, f_files, f_favail, .. } = statvfs(self.root()).ok()?;
        let inodes = f_files == 0 || f_favail >= times * INODES as u64;
        Some(f_bavail.saturating_mul(f_frsize) >= times * BYTES && inodes)
    }

    fn reserve(&self) -> PathBuf {
        self.root().join("db/reserve")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_taken_where_there_is_plenty() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root"), &dir.path().join("run"), crate::Durability::None).unwrap();
        if store.room(PLENTY) != Some(true) {
            return;
        }
        store.keep_room();
        assert_eq!(fs_err::read_dir(store.reserve()).unwrap().count(), INODES);
        assert_eq!(fs_err::metadata(store.reserve().join("0")).unwrap().len(), BYTES);
        // Nothing is short here, so it stays.
        store.make_room();
        assert!(store.reserve().exists());
    }
}
