//! A container's root as one descriptor, for verbs that look into it or change it from outside.
//!
//! A running container is reached through its first process, so that its volumes are seen; one that does not run is
//! mounted, detached, for as long as the descriptor lives.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use mica_storage_api::MountFlags;
use rustix::fs::{Mode, OFlags, open};

use crate::ops::ps::ContainerSummary;
use crate::storage::{Chain, mount};
use crate::store::containers::Claim;
use crate::{Engine, Error, Result};

/// What a verb means to do with a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A container's root, and what keeps it in place.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) fd: OwnedFd,
    _chain: Option<Chain>,
    // One mount of a writable tree at a time (two overlay mounts of one upper directory are undefined behaviour): whoever
    // starts or removes the container waits.
    _claim: Option<Claim>,
}

impl Engine {
    /// Opens a container's root. Blocks.
    pub(crate) fn container_root(&self, container: &ContainerSummary, access: Access) -> Result<Root> {
        let record = &container.record;
        if let Some(pid) = container.state.pid() {
            let path = PathBuf::from(format!("/proc/{pid}/root"));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = open(&path, flags, Mode::empty()).map_err(|errno| Error::io("open", path)(errno.into()))?;
            return Ok(Root { fd, _chain: None, _claim: None });
        }
        let claim = self.store().claim(&record.id)?;
        let chain = self.chain_on(&self.driver(&record.driver)?, &record.diff_ids)?;
        let flags = if access == Access::Read { MountFlags::READONLY } else { MountFlags::empty() };
        let fd = mount(&chain.driver, &chain.keys, Some(&record.id), flags)?;
        Ok(Root { fd, _chain: Some(chain), _claim: Some(claim) })
    }
}
