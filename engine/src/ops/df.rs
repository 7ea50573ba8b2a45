//! `system df`: what the store holds, from kept figures.

use crate::{Engine, Result};

/// Figures of one kind of object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageLine {
    /// How many there are.
    pub total: u64,
    /// How many are in use.
    pub active: u64,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes that would come back if everything unused went.
    pub reclaimable: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images with their layers, unpacked and as blobs.
    pub images: UsageLine,
    /// Writable layers of containers.
    pub containers: UsageLine,
    /// Volumes.
    pub volumes: UsageLine,
    /// Build cache entries.
    pub build_cache: UsageLine,
}

impl Engine {
    /// What the store holds.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        todo!()
    }
}
