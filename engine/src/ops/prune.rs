//! `prune`: everything nobody needs goes, by the kinds that were asked for.

use crate::ops::rmi::Removed;
use crate::{Engine, Result};

/// Which images `prune` removes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PruneImages {
    /// None.
    #[default]
    Keep,
    /// Those without a name and without containers.
    Dangling,
    /// Those without containers.
    Unused,
}

/// What `prune` removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Containers that do not run.
    pub containers: bool,
    /// Images.
    pub images: PruneImages,
    /// The build cache.
    pub build_cache: bool,
    /// `until=…` and `label=…` filters, as `name=value` pairs.
    pub filters: Vec<(String, String)>,
}

/// What `prune` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// IDs of containers.
    pub containers: Vec<String>,
    /// Names, images and layers.
    pub images: Vec<Removed>,
    /// Keys of build cache entries.
    pub build_cache: Vec<String>,
    /// Bytes that came back.
    pub reclaimed: u64,
}

impl Engine {
    /// Removes what nobody needs, and sweeps what dead commands left.
    pub async fn prune(&self, request: PruneRequest) -> Result<Pruned> {
        let _ = request;
        todo!()
    }
}
