//! The verbs of the btrfs driver.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mica_storage_api::changes::tell;
use mica_storage_api::idmap;
use mica_storage_api::layout::{Layout, filesystem_name, open_dir};
use mica_storage_api::sys::{MountAttr, mount_setattr};
use mica_storage_api::{
    Caps, Change, CheckLevel, Error, ErrorKind, Flow, Host, Info, Key, Left, MountArgs, MountFlags, ObjectKind,
    OpenArgs, Result, ResultExt, StageArgs, StorageDriver, Usage, Whiteout, tree,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::changes;
use crate::ioctl::{self, Access};
use crate::quota::Quotas;
use crate::stage::BtrfsStage;
use crate::subvolume;

/// The read-only subvolume that is the view of no layers.
const EMPTY: &str = "empty";

/// The btrfs driver on one root.
#[derive(Debug)]
pub struct Btrfs {
    layout: Arc<Layout>,
    empty: OwnedFd,
    quotas: Arc<Quotas>,
    rootless: bool,
}

impl StorageDriver for Btrfs {
    const NAME: &'static CStr = c"btrfs";
    const OPTIONS: &'static CStr =
        c"quota=simple  turn simple quotas on, for the whole file system, so that containers can be limited";
    type Stage = BtrfsStage;

    fn open(_: Host, args: &OpenArgs<'_>) -> Result<(Self, Info)> {
        let (mut quota, mut mapped) = (false, None);
        for option in args.options {
            match (*option, option.strip_prefix("probed=").and_then(idmap::said_in)) {
                ("quota=simple", _) => quota = true,
                (_, Some(known)) => mapped = Some(known),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("unknown storage option `{option}`: the btrfs driver knows `quota=simple`"),
                    ));
                }
            }
        }
        let backing_fs = filesystem_name(args.root)?;
        if backing_fs != "btrfs" {
            return Err(Error::new(
                ErrorKind::IncompatibleFs,
                format!(
                    "`{}` lies on {backing_fs}; the btrfs driver needs a store on btrfs: make one with mkfs.btrfs, or use the overlay driver",
                    args.root_path.display()
                ),
            ));
        }
        let layout = Layout::open(args.root)?;
        // Also the probe: whoever may not create subvolumes here hears of it now.
        let empty = open_empty(args)?;
        let mut quotas = Quotas::find(args.root)?;
        if quota {
            quotas = quotas.enable(args.root)?;
        }
        // Making a snapshot commits the transaction with all that was named before.
        let mut caps = Caps::PROMOTE | Caps::DETACHED_MOUNT | Caps::REFLINK | Caps::RW_DURABLE;
        caps.set(Caps::CHANGES, !args.rootless);
        let mapped = !args.rootless && mapped.unwrap_or_else(|| idmap::works(args.root));
        caps.set(Caps::IDMAP_LOWER | Caps::IDMAP_UPPER, mapped);
        caps.set(Caps::QUOTA_BYTES, quotas.groups().is_ok());
        let info = Info {
            caps,
            max_parents: 0,
            whiteout: Whiteout::Direct,
            backing_fs,
            detail: format!(
                "snapshots{}, {}",
                if quotas.groups().is_ok() { ", simple quotas" } else { "" },
                idmap::words(mapped)
            ),
        };
        Ok((Self { layout: Arc::new(layout), empty, quotas: Arc::new(quotas), rootless: args.rootless }, info))
    }

    fn stage_begin(&self, args: &StageArgs<'_>) -> Result<BtrfsStage> {
        if args.quota_inodes != 0 {
            return Err(Error::new(ErrorKind::Unsupported, "btrfs limits bytes and no inodes"));
        }
        if args.quota_bytes != 0 {
            self.quotas.groups()?;
        }
        BtrfsStage::begin(Arc::clone(&self.layout), Arc::clone(&self.quotas), args)
    }

    fn mount(&self, args: &MountArgs<'_>) -> Result<OwnedFd> {
        if args.selinux_label.is_some() {
            return Err(Error::unsupported("labelling a mount, which is a property of the whole file system,"));
        }
        if let Some(option) = args.options.first() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("unknown mount option `{option}`: the btrfs driver has none"),
            ));
        }
        let ids = args.idmap_userns;
        match (args.rw_id, args.parents.first()) {
            (Some(id), _) => {
                let attributes =
                    if args.flags.contains(MountFlags::READONLY) { MountAttr::RDONLY } else { MountAttr::empty() };
                clone_mount(subvolume::open(&self.layout, ObjectKind::Rw, id)?.as_fd(), attributes, ids)
            }
            (None, Some(&top)) => {
                clone_mount(subvolume::open(&self.layout, ObjectKind::Layer, top)?.as_fd(), MountAttr::RDONLY, ids)
            }
            (None, None) => clone_mount(self.empty.as_fd(), MountAttr::RDONLY, ids),
        }
    }

    fn changes(
        &self,
        rw_id: Key<'_>,
        parents: &[Key<'_>],
        yield_change: &mut dyn FnMut(&Change<'_>) -> Flow,
    ) -> Result<()> {
        if self.rootless {
            // The search takes root.
            return Err(Error::fallback());
        }
        let tree = subvolume::open(&self.layout, ObjectKind::Rw, rw_id)?;
        let layer = match parents.first() {
            Some(&top) => subvolume::open(&self.layout, ObjectKind::Layer, top)?,
            None => open_dir(self.empty.as_fd(), ".").during(|| "open the empty subvolume")?,
        };
        tell(&changes::find(tree.as_fd(), layer.as_fd())?, tree.as_fd(), yield_change)
    }

    fn usage(&self, kind: ObjectKind, id: Key<'_>) -> Result<Usage> {
        // What a snapshot shares is counted too: telling it apart takes a quota group or a walk of all extents.
        tree::usage(subvolume::open(&self.layout, kind, id)?.as_fd())
    }

    fn remove(&self, kind: ObjectKind, id: Key<'_>) -> Result<()> {
        subvolume::discard(&self.layout, kind, id)
    }

    fn reap(&self, budget: Duration) -> Result<Left> {
        let left = self
            .layout
            .reap_with(budget, |trash, name, deadline| subvolume::delete(trash, name, deadline, &self.quotas))?;
        self.quotas.sweep(self.layout.trash())?;
        Ok(left)
    }

    fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        self.layout.list(yield_object)
    }

    fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        self.layout.check(kind, id, level)?;
        subvolume::open(&self.layout, kind, id).map(drop)
    }
}

/// Reads would otherwise write access times into every shared leaf, and unshare it.
fn clone_mount(subvolume: BorrowedFd<'_>, attributes: MountAttr, ids: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    if let Some(userns) = ids {
        return idmap::clone_mapped(subvolume, attributes | MountAttr::NOATIME, userns);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(subvolume, "", flags).during(|| "clone the mount of a subvolume")?;
    mount_setattr(mount.as_fd(), attributes | MountAttr::NOATIME, None)
        .during(|| "set the attributes of the mount of a subvolume")?;
    Ok(mount)
}

fn open_empty(args: &OpenArgs<'_>) -> Result<OwnedFd> {
    match ioctl::create(args.root, EMPTY.as_bytes()) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno @ (Errno::PERM | Errno::ACCESS)) => {
            let error = Error::os(
                errno,
                format_args!("create a subvolume in `{}`; run as root or own the directory", args.root_path.display()),
            );
            return Err(error.with_kind(ErrorKind::Prerequisite));
        }
        Err(errno) => {
            return Err(Error::os(errno, format_args!("create a subvolume in `{}`", args.root_path.display())));
        }
    }
    let empty = open_dir(args.root, EMPTY).during(|| "open `empty` in the driver root")?;
    ioctl::set_access(empty.as_fd(), Access::ReadOnly).during(|| "make `empty` in the driver root read-only")?;
    Ok(empty)
}
