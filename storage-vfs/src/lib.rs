//! The vfs storage driver: plain directories on any file system. The simplest driver that is right, and the one to read first.
//!
//! ```text
//! <root>/layers/<key>/   a layer's own files; what it deletes is a `.wh.` file, as in an archive
//!        rw/<id>/        a container: `tree/` is its whole root, `manifest` tells what is untouched in it
//!        views/          read-only trees of chains, while somebody looks
//!        empty/          the view of no layers
//!        stage/<id>/  trash/<unique>/  locks/
//! ```
//! An image costs the sum of its layers, and a container one tree more, whose files share their bytes with the layers' where
//! the file system can (REFLINK).
//!
//! Reading order: `chain` (what layers show together), `fill` (making that a tree), `stage`, `manifest` and `changes` (what a
//! container changed), `promote` (a layer from that), `views`.

mod chain;
mod changes;
mod fill;
mod manifest;
mod promote;
mod stage;
#[cfg(test)]
mod tests;
mod views;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mica_storage_api::idmap;
use mica_storage_api::layout::{self, Layout};
use mica_storage_api::sys::{self, MountAttr};
use mica_storage_api::{
    Caps, Change, CheckLevel, Error, ErrorKind, Flow, Host, Info, Key, Left, MountArgs, MountFlags, ObjectKind,
    OpenArgs, Result, ResultExt, StageArgs, StorageDriver, Usage, Whiteout, tree,
};
use rustix::mount::OpenTreeFlags;

use chain::Chain;
use fill::Progress;
use manifest::Manifest;
use stage::{MANIFEST, TREE, VfsStage};
use views::Views;

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
    views: Views,
    empty: OwnedFd,
    host: Host,
}

impl Store {
    fn chain<'a>(&'a self, keys: &'a [Key<'a>]) -> Chain<'a> {
        Chain { layers: self.layout.dir(ObjectKind::Layer), keys }
    }

    /// The tree of a writable object.
    fn open_tree(&self, id: Key<'_>) -> Result<OwnedFd> {
        let object = self.layout.open_object(ObjectKind::Rw, id)?;
        layout::open_dir(object.as_fd(), TREE)
            .map_err(|errno| Error::os(errno, format_args!("open `rw/{id}/{TREE}`")).with_kind(ErrorKind::Corrupt))
    }
}

impl StorageDriver for Vfs {
    const NAME: &'static CStr = c"vfs";
    type Stage = VfsStage;

    fn open(host: Host, args: &OpenArgs<'_>) -> Result<(Self, Info)> {
        let mut mapped = None;
        for option in args.options {
            let known = option.strip_prefix("probed=").and_then(idmap::said_in);
            mapped = Some(known.ok_or_else(|| {
                Error::new(ErrorKind::Invalid, format!("vfs has no option `{option}`; it has none at all"))
            })?);
        }
        let mapped = !args.rootless && mapped.unwrap_or_else(|| idmap::works(args.root));
        let layout = Layout::open(args.root)?;
        let empty = layout::open_empty(args.root)?;
        let reflink = layout::reflinks(args.root);
        let views = Views::new(layout::ensure_dir(args.root, "views")?);
        let mut caps = Caps::INDEPENDENT_LAYERS | Caps::PROMOTE | Caps::USERNS;
        caps.set(Caps::REFLINK, reflink);
        caps.set(Caps::IDMAP_LOWER | Caps::IDMAP_UPPER, mapped);
        caps.set(Caps::DETACHED_MOUNT, try_clone(args.root).is_ok());
        let info = Info {
            caps,
            max_parents: 0,
            whiteout: Whiteout::OciFiles,
            backing_fs: layout::filesystem_name(args.root)?,
            detail: detail(reflink, mapped),
        };
        Ok((Self { store: Arc::new(Store { layout, views, empty, host }) }, info))
    }

    fn stage_begin(&self, args: &StageArgs<'_>) -> Result<VfsStage> {
        VfsStage::begin(&self.store, args)
    }

    /// `VOLATILE` changes nothing: there is no work directory to keep in order.
    fn mount(&self, args: &MountArgs<'_>) -> Result<OwnedFd> {
        if let Some(option) = args.options.first() {
            return Err(Error::new(ErrorKind::Invalid, format!("vfs has no mount option `{option}`")));
        }
        if args.selinux_label.is_some() {
            return Err(Error::unsupported("an SELinux label for a whole mount"));
        }
        let store = &self.store;
        let clone = |tree: BorrowedFd<'_>, name: &str, attributes: MountAttr| match args.idmap_userns {
            Some(userns) => idmap::clone_mapped(tree, attributes, userns),
            None => clone_mount(tree, name, attributes),
        };
        match (args.rw_id, args.parents) {
            (Some(id), _) => {
                let read_only = args.flags.contains(MountFlags::READONLY);
                let attributes = if read_only { MountAttr::RDONLY } else { MountAttr::empty() };
                clone(store.open_tree(id)?.as_fd(), id.as_str(), attributes)
            }
            (None, []) => clone(store.empty.as_fd(), "no layers", MountAttr::RDONLY),
            (None, [top, ..]) => {
                let mut progress = Progress::of(store.host, args.call_id);
                let tree = store.views.tree(store.chain(args.parents), &mut progress)?;
                clone((*tree).as_fd(), top.as_str(), MountAttr::RDONLY)
            }
        }
    }

    /// One stat for each entry of the tree and one look into each directory of each layer, whatever was changed.
    fn changes(
        &self,
        rw_id: Key<'_>,
        parents: &[Key<'_>],
        yield_change: &mut dyn FnMut(&Change<'_>) -> Flow,
    ) -> Result<()> {
        let tree = self.store.open_tree(rw_id)?;
        let object = self.store.layout.open_object(ObjectKind::Rw, rw_id)?;
        let manifest = Manifest::read(object.as_fd(), MANIFEST);
        let mut progress = Progress::of(self.store.host, 0);
        let changed = changes::find(self.store.chain(parents), tree.as_fd(), &manifest, &mut progress)?;
        mica_storage_api::changes::tell(&changed, tree.as_fd(), yield_change)
    }

    /// A walk; bytes shared with other trees by reflink count in each.
    fn usage(&self, kind: ObjectKind, id: Key<'_>) -> Result<Usage> {
        tree::usage(self.store.layout.open_object(kind, id)?.as_fd())
    }

    fn remove(&self, kind: ObjectKind, id: Key<'_>) -> Result<()> {
        self.store.layout.discard(kind, id)
    }

    fn reap(&self, budget: Duration) -> Result<Left> {
        self.store.views.sweep(&self.store.layout)?;
        self.store.layout.reap(budget)
    }

    fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        self.store.layout.list(yield_object)
    }

    fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        self.store.layout.check(kind, id, level)?;
        if kind == ObjectKind::Rw { self.store.open_tree(id).map(drop) } else { Ok(()) }
    }
}

fn clone_read_only(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    clone_mount(dir, name, MountAttr::RDONLY)
}

/// The driver's line about itself.
fn detail(reflink: bool, mapped: bool) -> String {
    let copies = if reflink { "copies share their bytes" } else { "every container is a full copy" };
    format!("{copies}, {}", idmap::words(mapped))
}

/// A clone of the mount the tree lies on, with the tree as its root.
fn clone_mount(dir: BorrowedFd<'_>, name: &str, attributes: MountAttr) -> Result<OwnedFd> {
    let mount = try_clone(dir).during(|| format!("mount the tree of `{name}`"))?;
    sys::mount_setattr(mount.as_fd(), attributes, None)
        .during(|| format!("set the attributes of the mount of `{name}`"))?;
    Ok(mount)
}

fn try_clone(dir: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(dir, c"", flags)
}
