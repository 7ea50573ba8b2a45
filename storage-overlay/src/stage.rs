//! What is being written: a layer, a container's directories, or a container on its way to become a layer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mica_storage_api::layout::{Layout, be_silent, dress_root, open_dir};
use mica_storage_api::{
    Error, Key, KeyBuf, ObjectKind, Result, ResultExt, Stage, StageArgs, StageKind, Target, Whiteout, project,
};
use rustix::fs::{Mode, RenameFlags, mkdirat, renameat_with};

use crate::root_dir;
use crate::volatile::{self, Use};

/// The upper directory of a writable tree.
pub(crate) const UPPER: &str = "fs";
/// The work directory of a writable tree.
pub(crate) const WORK: &str = "work";

/// A stage of the overlay driver.
#[derive(Debug)]
pub struct OverlayStage {
    layout: Arc<Layout>,
    kind: StageKind,
    id: KeyBuf,
    dir: OwnedFd,
    merged: Option<Merged>,
    whiteout: Whiteout,
    finished: bool,
}

/// A view of the parents. The mount's own descriptor cannot be read, and closing it would dissolve the mount.
#[derive(Debug)]
struct Merged {
    root: OwnedFd,
    _mount: OwnedFd,
}

impl OverlayStage {
    /// Makes the directories. `view` mounts the parents, and is asked only where a layer has some.
    pub(crate) fn begin(
        layout: Arc<Layout>,
        args: &StageArgs<'_>,
        whiteout: Whiteout,
        view: impl FnOnce(&[Key<'_>]) -> Result<OwnedFd>,
    ) -> Result<Self> {
        let dir = match args.kind {
            StageKind::Promote => open_writable_tree(&layout, args.id, Use::Look)?.upper,
            StageKind::Layer | StageKind::Rw => layout.make(ObjectKind::Stage, args.id)?,
        };
        // From here on, dropping the stage removes what was made.
        let mut stage =
            Self { layout, kind: args.kind, id: args.id.to_owned(), dir, merged: None, whiteout, finished: false };
        match args.kind {
            StageKind::Promote => return Ok(stage),
            StageKind::Layer => {}
            StageKind::Rw => {
                if args.quota_bytes != 0 || args.quota_inodes != 0 {
                    // While it is empty: the upper and the work directory inherit the project, between which overlayfs
                    // renames and links.
                    project::limit(stage.dir.as_fd(), args.quota_bytes, args.quota_inodes)?;
                }
                stage.dir = make_writable_tree(stage.dir.as_fd())?;
            }
        }
        if args.parents.is_empty() {
            dress_root(stage.dir.as_fd(), args.root_mode, args.root_uid, args.root_gid)?;
            if args.kind == StageKind::Layer {
                be_silent(stage.dir.as_fd())?;
            }
        } else {
            let speaker = args.parents[root_dir::speaker(&stage.layout, args.parents)?];
            let speaker = stage.layout.open_object(ObjectKind::Layer, speaker)?;
            root_dir::inherit(speaker.as_fd(), stage.dir.as_fd())?;
        }
        if args.kind == StageKind::Layer && !args.parents.is_empty() {
            let mount = view(args.parents)?;
            let root = open_dir(mount.as_fd(), ".").during(|| "open the view of the parents")?;
            stage.merged = Some(Merged { root, _mount: mount });
        }
        Ok(stage)
    }

    fn publish(&self, key: Key<'_>) -> Result<()> {
        let own = (ObjectKind::Stage, self.id.as_key());
        match self.kind {
            StageKind::Layer => self.layout.publish(own, (ObjectKind::Layer, key)),
            StageKind::Rw => self.layout.publish(own, (ObjectKind::Rw, key)),
            StageKind::Promote => {
                let rw = self.layout.open_object(ObjectKind::Rw, self.id.as_key())?;
                renameat_with(&rw, UPPER, self.layout.dir(ObjectKind::Layer), key.as_str(), RenameFlags::NOREPLACE)
                    .during(|| format!("publish `rw/{}` as `layers/{key}`", self.id))?;
                // Its files stay in the project, which has no limit any more and which nobody takes while they are there.
                project::lift(rw.as_fd())?;
                // Whoever dies here leaves an rw object without an upper directory, which `check` calls damaged.
                self.layout.discard(ObjectKind::Rw, self.id.as_key())
            }
        }
    }
}

impl Stage for OverlayStage {
    fn target(&self) -> Target<'_> {
        Target {
            dir: self.dir.as_fd(),
            merged: self.merged.as_ref().map(|merged| merged.root.as_fd()),
            whiteout: self.whiteout,
        }
    }

    fn commit(mut self, key: Key<'_>) -> Result<u64> {
        self.publish(key)?;
        self.finished = true;
        Ok(0)
    }
}

impl Drop for OverlayStage {
    fn drop(&mut self) {
        if !self.finished && self.kind != StageKind::Promote {
            // Nobody is left to hear of a failure, and recovery finds the stage by its name.
            let _ = self.layout.discard(ObjectKind::Stage, self.id.as_key());
        }
    }
}

/// The directories of a writable tree.
#[derive(Debug)]
pub(crate) struct WritableTree {
    pub(crate) upper: OwnedFd,
    pub(crate) work: OwnedFd,
}

/// Opens a writable tree that is whole, and makes it ready for what comes next.
pub(crate) fn open_writable_tree(layout: &Layout, id: Key<'_>, next: Use) -> Result<WritableTree> {
    let rw = layout.open_object(ObjectKind::Rw, id)?;
    let part = |name: &str| {
        open_dir(rw.as_fd(), name).map_err(|errno| {
            Error::os(errno, format_args!("open `rw/{id}/{name}`")).with_kind(mica_storage_api::ErrorKind::Corrupt)
        })
    };
    let tree = WritableTree { upper: part(UPPER)?, work: part(WORK)? };
    volatile::admit(rw.as_fd(), tree.work.as_fd(), id, next)?;
    Ok(tree)
}

fn make_writable_tree(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    for name in [UPPER, WORK] {
        mkdirat(dir, name, Mode::RWXU).during(|| format!("make the `{name}` directory of a writable tree"))?;
    }
    open_dir(dir, UPPER).during(|| "open the upper directory of a writable tree")
}
