//! What is being written: a subvolume or a snapshot, published by a rename.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mica_storage_api::layout::{Layout, dress_root};
use mica_storage_api::{Key, KeyBuf, ObjectKind, Result, Stage, StageArgs, StageKind, Target, Whiteout};

use crate::quota::Quotas;
use crate::subvolume;

/// A stage of the btrfs driver.
#[derive(Debug)]
pub struct BtrfsStage {
    layout: Arc<Layout>,
    quotas: Arc<Quotas>,
    kind: StageKind,
    id: KeyBuf,
    dir: OwnedFd,
    finished: bool,
}

impl BtrfsStage {
    pub(crate) fn begin(layout: Arc<Layout>, quotas: Arc<Quotas>, args: &StageArgs<'_>) -> Result<Self> {
        let dir = match (args.kind, args.parents.first()) {
            (StageKind::Promote, _) => subvolume::open(&layout, ObjectKind::Rw, args.id)?,
            (StageKind::Layer | StageKind::Rw, Some(&top)) => subvolume::snapshot(&layout, top, args.id)?,
            (StageKind::Layer | StageKind::Rw, None) => subvolume::create(&layout, args.id)?,
        };
        // From here on, dropping the stage removes what was made.
        let stage = Self { layout, quotas, kind: args.kind, id: args.id.to_owned(), dir, finished: false };
        if stage.kind != StageKind::Promote && args.parents.is_empty() {
            dress_root(stage.dir.as_fd(), args.root_mode, args.root_uid, args.root_gid)?;
        }
        if args.quota_bytes != 0 {
            stage.quotas.groups()?.limit(stage.dir.as_fd(), args.quota_bytes)?;
        }
        Ok(stage)
    }

    fn publish(&self, key: Key<'_>) -> Result<()> {
        let id = self.id.as_key();
        match self.kind {
            StageKind::Rw => self.layout.publish((ObjectKind::Stage, id), (ObjectKind::Rw, key)),
            // Frozen after the rename, which the kernel refuses for a read-only directory. Whoever dies in between leaves a
            // layer that nobody has recorded.
            StageKind::Layer => {
                self.layout.publish((ObjectKind::Stage, id), (ObjectKind::Layer, key))?;
                subvolume::freeze(self.dir.as_fd(), key)
            }
            StageKind::Promote => {
                self.layout.publish((ObjectKind::Rw, id), (ObjectKind::Layer, key))?;
                self.quotas.lift(self.dir.as_fd());
                subvolume::freeze(self.dir.as_fd(), key)
            }
        }
    }
}

impl Stage for BtrfsStage {
    fn target(&self) -> Target<'_> {
        Target { dir: self.dir.as_fd(), merged: None, whiteout: Whiteout::Direct }
    }

    fn commit(mut self, key: Key<'_>) -> Result<u64> {
        self.publish(key)?;
        self.finished = true;
        Ok(0)
    }
}

impl Drop for BtrfsStage {
    fn drop(&mut self) {
        if !self.finished && self.kind != StageKind::Promote {
            // Nobody is left to hear of a failure, and recovery finds the stage by its name.
            let _ = subvolume::discard(&self.layout, ObjectKind::Stage, self.id.as_key());
        }
    }
}
