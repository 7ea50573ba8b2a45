//! A stage: a fresh copy of the top parent's tree, or an rw tree about to become a layer.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mica_storage_api::layout;
use mica_storage_api::{Error, Key, KeyBuf, ObjectKind, Result, Stage, StageArgs, StageKind, Target, Whiteout};

use crate::Store;

/// A tree being written. Dropped without a commit, a fresh one goes to the trash, a promoted one stays where it was.
#[derive(Debug)]
pub struct VfsStage {
    store: Arc<Store>,
    /// Where the tree is now.
    from: (ObjectKind, KeyBuf),
    becomes: ObjectKind,
    tree: OwnedFd,
    published: bool,
}

impl VfsStage {
    pub(crate) fn begin(store: &Arc<Store>, args: &StageArgs<'_>) -> Result<Self> {
        if args.quota_bytes != 0 || args.quota_inodes != 0 {
            return Err(Error::unsupported("a quota"));
        }
        let becomes = match args.kind {
            StageKind::Rw => ObjectKind::Rw,
            StageKind::Layer | StageKind::Promote => ObjectKind::Layer,
        };
        let stage = |place, tree| Self {
            store: Arc::clone(store),
            from: (place, args.id.to_owned()),
            becomes,
            tree,
            published: false,
        };
        if args.kind == StageKind::Promote {
            return Ok(stage(ObjectKind::Rw, store.layout.open_object(ObjectKind::Rw, args.id)?));
        }
        // The parent first: without it there is nothing to clean up.
        let top = args.parents.first().map(|top| store.layout.open_object(ObjectKind::Layer, *top)).transpose()?;
        let new = stage(ObjectKind::Stage, store.layout.make(ObjectKind::Stage, args.id)?);
        match top {
            Some(top) => store.host.copy_tree(args.call_id, top.as_fd(), new.tree.as_fd())?,
            None => layout::dress_root(new.tree.as_fd(), args.root_mode, args.root_uid, args.root_gid)?,
        }
        Ok(new)
    }
}

impl Stage for VfsStage {
    fn target(&self) -> Target<'_> {
        Target { dir: self.tree.as_fd(), merged: None, whiteout: Whiteout::Direct }
    }

    /// The size would take a walk, so it is left unknown.
    fn commit(mut self, key: Key<'_>) -> Result<u64> {
        self.store.layout.publish((self.from.0, self.from.1.as_key()), (self.becomes, key))?;
        self.published = true;
        Ok(0)
    }
}

impl Drop for VfsStage {
    fn drop(&mut self) {
        if !self.published && self.from.0 == ObjectKind::Stage {
            // What cannot be moved away now is listed as a stage, and recovery removes it.
            let _ = self.store.layout.discard(ObjectKind::Stage, self.from.1.as_key());
        }
    }
}
