//! The vfs storage driver: plain directories and whole copies. The simplest driver that is right, and the one to read first.
//!
//! ```text
//! <root>/layers/<key>/   the complete tree of a chain whose top is <key>
//!        rw/<id>/        the complete tree of a container
//!        empty/          the view of no layers
//!        stage/<id>/  trash/<unique>/  locks/
//! ```
//! Every object is a whole tree, so of a chain only the top parent is ever read. The engine therefore commits image tops
//! only (LINEAR_SNAPSHOT) and finds changes by comparing trees. Copies share bytes where the file system can (REFLINK).

mod stage;
#[cfg(test)]
mod tests;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mica_storage_api::layout::{self, Layout};
use mica_storage_api::sys::{self, MountAttr};
use mica_storage_api::{
    Caps, CheckLevel, Error, ErrorKind, Flow, Host, Info, Key, Left, MountArgs, MountFlags, ObjectKind, OpenArgs,
    Result, ResultExt, StageArgs, StorageDriver, Usage, Whiteout, tree,
};
use rustix::mount::OpenTreeFlags;

use stage::VfsStage;

mica_storage_api::export_driver!(Vfs);

/// The driver on one root.
#[derive(Debug)]
pub struct Vfs {
    store: Arc<Store>,
}

/// What the driver and its stages share.
#[derive(Debug)]
struct Store {
    layout: Layout,
    empty: OwnedFd,
    host: Host,
}

impl StorageDriver for Vfs {
    const NAME: &'static CStr = c"vfs";
    type Stage = VfsStage;

    fn open(host: Host, args: &OpenArgs<'_>) -> Result<(Self, Info)> {
        if let Some(option) = args.options.first() {
            return Err(Error::new(ErrorKind::Invalid, format!("vfs has no option `{option}`; it has none at all")));
        }
        let layout = Layout::open(args.root)?;
        let empty = layout::open_empty(args.root)?;
        let reflink = layout::reflinks(args.root);
        let mut caps = Caps::LINEAR_SNAPSHOT | Caps::PROMOTE | Caps::USERNS;
        caps.set(Caps::REFLINK, reflink);
        caps.set(Caps::DETACHED_MOUNT, clone_mount(args.root).is_ok());
        let info = Info {
            caps,
            max_parents: 0,
            whiteout: Whiteout::Direct,
            backing_fs: layout::filesystem_name(args.root)?,
            detail: if reflink { "copies share their bytes" } else { "every snapshot is a full copy" }.to_owned(),
        };
        Ok((Self { store: Arc::new(Store { layout, empty, host }) }, info))
    }

    fn stage_begin(&self, args: &StageArgs<'_>) -> Result<VfsStage> {
        VfsStage::begin(&self.store, args)
    }

    /// A clone of the mount the tree lies on, with the tree as its root. `VOLATILE` changes nothing: there is no work
    /// directory to keep in order.
    fn mount(&self, args: &MountArgs<'_>) -> Result<OwnedFd> {
        if let Some(option) = args.options.first() {
            return Err(Error::new(ErrorKind::Invalid, format!("vfs has no mount option `{option}`")));
        }
        if args.selinux_label.is_some() {
            return Err(Error::unsupported("an SELinux label for a whole mount"));
        }
        if args.idmap_userns.is_some() {
            return Err(Error::unsupported("an id-mapped mount"));
        }
        let open = |kind, id| self.store.layout.open_object(kind, id).map(Some);
        let (tree, readonly) = match (args.rw_id, args.parents.first()) {
            (Some(id), _) => (open(ObjectKind::Rw, id)?, args.flags.contains(MountFlags::READONLY)),
            (None, Some(top)) => (open(ObjectKind::Layer, *top)?, true),
            (None, None) => (None, true),
        };
        let tree = tree.as_ref().unwrap_or(&self.store.empty);
        let name = args.rw_id.or(args.parents.first().copied()).map_or("empty", Key::as_str);
        let mount = clone_mount(tree.as_fd()).during(|| format!("mount the tree of `{name}`"))?;
        let attr = if readonly { MountAttr::RDONLY } else { MountAttr::empty() };
        sys::mount_setattr(mount.as_fd(), attr, None)
            .during(|| format!("set the attributes of the mount of `{name}`"))?;
        Ok(mount)
    }

    /// A walk; bytes shared with other trees by reflink count in each.
    fn usage(&self, kind: ObjectKind, id: Key<'_>) -> Result<Usage> {
        tree::usage(self.store.layout.open_object(kind, id)?.as_fd())
    }

    fn remove(&self, kind: ObjectKind, id: Key<'_>) -> Result<()> {
        self.store.layout.discard(kind, id)
    }

    fn reap(&self, budget: Duration) -> Result<Left> {
        self.store.layout.reap(budget)
    }

    fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        self.store.layout.list(yield_object)
    }

    fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        self.store.layout.check(kind, id, level)
    }
}

fn clone_mount(dir: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(dir, c"", flags)
}
