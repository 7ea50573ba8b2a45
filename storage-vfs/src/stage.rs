//! A stage: a layer's own files, a fresh tree for a container, or a container's tree about to become a layer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mica_storage_api::copy::Entries;
use mica_storage_api::layout::{self, open_dir};
use mica_storage_api::{
    Error, ErrorKind, Key, KeyBuf, ObjectKind, Result, ResultExt, Stage, StageArgs, StageKind, Target, Whiteout,
};
use rustix::fs::{AtFlags, Mode, RenameFlags, mkdirat, renameat_with, unlinkat};

use crate::fill::{Files, Progress, fill};
use crate::manifest::{self, Manifest};
use crate::{Store, changes, clone_read_only, promote};

/// The tree of a stage and of a writable object.
pub(crate) const TREE: &str = "tree";
/// The manifest of a writable object.
pub(crate) const MANIFEST: &str = "manifest";
/// Of a layer stage: what the parents show.
const MERGED: &str = "merged";
/// Of a writable object: the layer that is being made of it.
const LAYER: &str = "layer";

/// Something being written. Dropped without a commit, a fresh one goes to the trash, a promoted one stays where it was.
#[derive(Debug)]
pub struct VfsStage {
    store: Arc<Store>,
    kind: StageKind,
    id: KeyBuf,
    call_id: u64,
    parents: Vec<KeyBuf>,
    tree: OwnedFd,
    merged: Option<Merged>,
    published: bool,
}

/// A view of the parents. The mount's own descriptor cannot be read, and closing it would dissolve the mount.
#[derive(Debug)]
struct Merged {
    root: OwnedFd,
    _mount: OwnedFd,
}

impl VfsStage {
    pub(crate) fn begin(store: &Arc<Store>, args: &StageArgs<'_>) -> Result<Self> {
        if args.quota_bytes != 0 || args.quota_inodes != 0 {
            // A project quota would count the copy of the image that a container is here.
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a container is a whole copy of its image here, which a quota would count; the overlay driver on xfs and the btrfs driver can limit what is written",
            ));
        }
        // The parents first: without one there is nothing to clean up.
        let chain = store.chain(args.parents);
        let root = chain.root()?;
        let tree = match args.kind {
            StageKind::Promote => store.open_tree(args.id)?,
            StageKind::Layer | StageKind::Rw => store.layout.make(ObjectKind::Stage, args.id)?,
        };
        // From here on, dropping the stage removes what was made.
        let mut stage = Self {
            store: Arc::clone(store),
            kind: args.kind,
            id: args.id.to_owned(),
            call_id: args.call_id,
            parents: args.parents.iter().map(|key| Key::to_owned(*key)).collect(),
            tree,
            merged: None,
            published: false,
        };
        if args.kind == StageKind::Promote {
            return Ok(stage);
        }
        let object = std::mem::replace(&mut stage.tree, make(stage_dir(store, args.id)?.as_fd(), TREE)?);
        let mut progress = Progress::of(store.host, args.call_id);
        match (args.kind, args.parents) {
            (kind, []) => {
                layout::dress_root(stage.tree.as_fd(), args.root_mode, args.root_uid, args.root_gid)?;
                if kind == StageKind::Layer {
                    layout::be_silent(stage.tree.as_fd())?;
                }
            }
            (StageKind::Rw, _) => fill(chain, stage.tree.as_fd(), Files::Copied, &mut progress)?,
            _ => {
                let like = chain.open(root.like, b"");
                like.and_then(|like| {
                    Entries::into_tree(stage.tree.as_fd()).finish_directory(like.as_fd(), stage.tree.as_fd())
                })
                .during(|| format!("make `stage/{}` like its parents", args.id))?;
                let merged = make(object.as_fd(), MERGED)?;
                fill(chain, merged.as_fd(), Files::Linked, &mut progress)?;
                let mount = clone_read_only(merged.as_fd(), "the view of a stage")?;
                let root = open_dir(mount.as_fd(), ".").during(|| "open the view of a stage")?;
                stage.merged = Some(Merged { root, _mount: mount });
            }
        }
        if args.kind == StageKind::Rw {
            manifest::record(stage.tree.as_fd(), object.as_fd(), MANIFEST, &mut progress)?;
        }
        Ok(stage)
    }

    fn publish_layer(&self, object: BorrowedFd<'_>, tree: &str, key: Key<'_>) -> Result<()> {
        let layers = self.store.layout.dir(ObjectKind::Layer);
        renameat_with(object, tree, layers, key.as_str(), RenameFlags::NOREPLACE)
            .during(|| format!("publish `{tree}` of `{}` as `layers/{key}`", self.id))
    }

    /// Publishes the difference between a writable tree and its parents. Whoever dies between publishing and removing the
    /// tree leaves a layer that nobody has recorded.
    fn promote(&self, key: Key<'_>) -> Result<()> {
        let id = self.id.as_key();
        let object = self.store.layout.open_object(ObjectKind::Rw, id)?;
        // What an earlier attempt left.
        self.store.layout.discard_from(object.as_fd(), Key::new(LAYER)?)?;
        let layer = make(object.as_fd(), LAYER)?;
        let keys: Vec<Key<'_>> = self.parents.iter().map(KeyBuf::as_key).collect();
        let manifest = Manifest::read(object.as_fd(), MANIFEST);
        let mut progress = Progress::of(self.store.host, self.call_id);
        let changed = changes::find(self.store.chain(&keys), self.tree.as_fd(), &manifest, &mut progress)?;
        promote::extract(&changed, self.tree.as_fd(), layer.as_fd(), &mut progress)?;
        self.publish_layer(object.as_fd(), LAYER, key)?;
        self.store.layout.discard(ObjectKind::Rw, id)
    }
}

impl Stage for VfsStage {
    fn target(&self) -> Target<'_> {
        let merged = self.merged.as_ref().map(|merged| merged.root.as_fd());
        let whiteout = if self.kind == StageKind::Layer { Whiteout::OciFiles } else { Whiteout::Direct };
        Target { dir: self.tree.as_fd(), merged, whiteout }
    }

    /// The size would take a walk, so it is left unknown.
    fn commit(mut self, key: Key<'_>) -> Result<u64> {
        match self.kind {
            StageKind::Rw => self.store.layout.publish((ObjectKind::Stage, self.id.as_key()), (ObjectKind::Rw, key))?,
            StageKind::Layer => self.publish_layer(stage_dir(&self.store, self.id.as_key())?.as_fd(), TREE, key)?,
            StageKind::Promote => self.promote(key)?,
        }
        self.published = true;
        Ok(0)
    }
}

impl Drop for VfsStage {
    fn drop(&mut self) {
        // A promoted tree stays what it was, and a published one took all of the stage along. Of a layer the directory is
        // left. What cannot be moved away now is listed as a stage, and recovery removes it.
        if self.kind == StageKind::Promote || (self.published && self.kind == StageKind::Rw) {
            return;
        }
        let id = self.id.as_key();
        if unlinkat(self.store.layout.dir(ObjectKind::Stage), id.as_str(), AtFlags::REMOVEDIR).is_err() {
            let _ = self.store.layout.discard(ObjectKind::Stage, id);
        }
    }
}

fn stage_dir(store: &Store, id: Key<'_>) -> Result<OwnedFd> {
    store.layout.open_object(ObjectKind::Stage, id)
}

fn make(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    mkdirat(dir, name, Mode::RWXU).during(|| format!("make the `{name}` directory of a stage"))?;
    open_dir(dir, name).during(|| format!("open the `{name}` directory of a stage"))
}
