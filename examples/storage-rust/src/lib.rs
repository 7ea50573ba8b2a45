//! A storage driver outside of Mica's tree: every object is a plain directory with the whole tree in it. It depends on the
//! contract, `mica-storage-api`, and on nothing else.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mica_storage_api::layout::{self, Layout};
use mica_storage_api::sys::{self, MountAttr};
use mica_storage_api::{
    Caps, CheckLevel, Error, ErrorKind, Flow, Host, Info, Key, KeyBuf, Left, MountArgs, MountFlags, ObjectKind,
    OpenArgs, Result, ResultExt, Stage, StageArgs, StageKind, StorageDriver, Target, Usage, Whiteout, tree,
};

mica_storage_api::export_driver!(Simple);

/// The driver on one root.
pub struct Simple {
    layout: Arc<Layout>,
    empty: OwnedFd,
    host: Host,
}

impl StorageDriver for Simple {
    const NAME: &'static CStr = c"simple";
    type Stage = SimpleStage;

    fn open(host: Host, args: &OpenArgs<'_>) -> Result<(Self, Info)> {
        no_options("option", args.options)?;
        // A capability is a fact, so it is tried.
        sys::clone_mount(args.root, MountAttr::RDONLY)
            .map_err(|errno| Error::os(errno, "make a detached mount").with_kind(ErrorKind::NotSupported))?;
        let layout = Arc::new(Layout::open(args.root)?);
        let info = Info {
            caps: Caps::DETACHED_MOUNT | Caps::PROMOTE | Caps::LINEAR_SNAPSHOT,
            max_parents: 0,
            whiteout: Whiteout::Direct,
            backing_fs: layout::filesystem_name(args.root)?,
            detail: "an example".to_owned(),
        };
        Ok((Self { layout, empty: layout::open_empty(args.root)?, host }, info))
    }

    fn stage_begin(&self, args: &StageArgs<'_>) -> Result<SimpleStage> {
        if args.quota_bytes != 0 || args.quota_inodes != 0 {
            return Err(Error::unsupported("a quota"));
        }
        let becomes = if args.kind == StageKind::Rw { ObjectKind::Rw } else { ObjectKind::Layer };
        let stage = |now, tree| SimpleStage {
            layout: Arc::clone(&self.layout),
            now,
            id: args.id.to_owned(),
            becomes,
            tree,
            published: false,
        };
        if args.kind == StageKind::Promote {
            return Ok(stage(ObjectKind::Rw, self.layout.open_object(ObjectKind::Rw, args.id)?));
        }
        // The parent first: without it there is nothing to clean up.
        let top = args.parents.first().map(|top| self.layout.open_object(ObjectKind::Layer, *top)).transpose()?;
        let new = stage(ObjectKind::Stage, self.layout.make(ObjectKind::Stage, args.id)?);
        match top {
            Some(top) => self.host.copy_tree(args.call_id, top.as_fd(), new.tree.as_fd())?,
            None => layout::dress_root(new.tree.as_fd(), args.root_mode, args.root_uid, args.root_gid)?,
        }
        Ok(new)
    }

    fn mount(&self, args: &MountArgs<'_>) -> Result<OwnedFd> {
        no_options("mount option", args.options)?;
        if args.selinux_label.is_some() || args.idmap_userns.is_some() {
            return Err(Error::unsupported("a label or an id map"));
        }
        let object = match (args.rw_id, args.parents.first()) {
            (Some(id), _) => Some(self.layout.open_object(ObjectKind::Rw, id)?),
            (None, Some(top)) => Some(self.layout.open_object(ObjectKind::Layer, *top)?),
            (None, None) => None,
        };
        let readonly = args.rw_id.is_none() || args.flags.contains(MountFlags::READONLY);
        let attributes = if readonly { MountAttr::RDONLY } else { MountAttr::empty() };
        let tree = object.as_ref().unwrap_or(&self.empty);
        sys::clone_mount(tree.as_fd(), attributes).during(|| "make a detached mount")
    }

    fn usage(&self, kind: ObjectKind, id: Key<'_>) -> Result<Usage> {
        tree::usage(self.layout.open_object(kind, id)?.as_fd())
    }

    fn remove(&self, kind: ObjectKind, id: Key<'_>) -> Result<()> {
        self.layout.discard(kind, id)
    }

    fn reap(&self, budget: Duration) -> Result<Left> {
        self.layout.reap(budget)
    }

    fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        self.layout.list(yield_object)
    }

    fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        self.layout.check(kind, id, level)
    }
}

/// A tree that is being written, or an rw tree that is to become a layer.
pub struct SimpleStage {
    layout: Arc<Layout>,
    now: ObjectKind,
    id: KeyBuf,
    becomes: ObjectKind,
    tree: OwnedFd,
    published: bool,
}

impl Stage for SimpleStage {
    fn target(&self) -> Target<'_> {
        Target { dir: self.tree.as_fd(), merged: None, whiteout: Whiteout::Direct }
    }

    fn commit(mut self, key: Key<'_>) -> Result<u64> {
        self.layout.publish((self.now, self.id.as_key()), (self.becomes, key))?;
        self.published = true;
        Ok(0)
    }
}

impl Drop for SimpleStage {
    fn drop(&mut self) {
        // A promoted rw object stays what it was; what cannot be moved away now is listed, and recovery removes it.
        if !self.published && self.now == ObjectKind::Stage {
            let _ = self.layout.discard(ObjectKind::Stage, self.id.as_key());
        }
    }
}

fn no_options(what: &str, options: &[&str]) -> Result<()> {
    match options.first() {
        Some(option) => Err(Error::new(ErrorKind::Invalid, format!("simple has no {what} `{option}`"))),
        None => Ok(()),
    }
}
