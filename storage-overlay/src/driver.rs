//! The verbs of the overlay driver, each as short as its mechanism.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mica_storage_api::layout::{Layout, filesystem_name, open_dir, open_empty, reflinks};
use mica_storage_api::sys::{MountAttr, mount_setattr};
use mica_storage_api::{
    Caps, Change, CheckLevel, Error, ErrorKind, Flow, Host, Info, Key, Left, MountArgs, MountFlags, ObjectKind,
    OpenArgs, Result, ResultExt, StageArgs, StorageDriver, Usage, Whiteout, project, tree,
};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::changes;
use crate::mapped::Mapped;
use crate::options::Options;
use crate::probe;
use crate::root_dir;
use crate::stack::{Interface, Lower, Stack, Upper};
use crate::stage::{OverlayStage, UPPER, WORK, WritableTree, open_writable_tree};
use crate::volatile::Use;

/// What `Layout` calls the directories of layers and of writable trees, and the one that stays empty.
const LAYERS: &str = "layers";
const RW: &str = "rw";
const EMPTY: &str = "empty";

/// The overlay driver on one root.
#[derive(Debug)]
pub struct Overlay {
    host: Host,
    root: OwnedFd,
    layout: Arc<Layout>,
    empty: OwnedFd,
    interface: Interface,
    volatile: bool,
    userxattr: bool,
}

impl StorageDriver for Overlay {
    const NAME: &'static CStr = c"overlay";
    const OPTIONS: &'static CStr =
        c"interface=fd|name|classic  the one mount interface to use, in place of the newest that works";
    type Stage = OverlayStage;

    fn open(host: Host, args: &OpenArgs<'_>) -> Result<(Self, Info)> {
        let options = Options::parse(args.options)?;
        let backing_fs = filesystem_name(args.root)?;
        if backing_fs == "overlay" {
            return Err(Error::new(
                ErrorKind::IncompatibleFs,
                format!(
                    "`{}` lies on an overlay file system, which cannot hold the upper directory of another; put the store on a volume with ext4, xfs, btrfs or tmpfs",
                    args.root_path.display()
                ),
            ));
        }
        let layout = Layout::open(args.root)?;
        let empty = open_empty(args.root)?;
        // Made here, so that a store that was emptied is like one that was never filled; views make it where it is missing.
        let _on_a_read_only_disk_it_is_missing = root_dir::open_roots(args.root);
        let found = match options.probed {
            Some(found) => found,
            None => probe::run(host, args, empty.as_fd(), options.interface)?,
        };
        let mut caps = Caps::INDEPENDENT_LAYERS | Caps::CHANGES | Caps::PROMOTE | Caps::DETACHED_MOUNT | Caps::USERNS;
        caps.set(Caps::VOLATILE, found.volatile);
        caps.set(Caps::IDMAP_LOWER | Caps::IDMAP_UPPER, found.mapped);
        caps.set(Caps::REFLINK, reflinks(args.root));
        // A new rw object is a few empty directories. These file systems have one journal with one order; on btrfs an fsync
        // of one file brings no other file's name along.
        caps.set(Caps::RW_DURABLE, matches!(backing_fs.as_str(), "ext4" | "xfs"));
        caps.set(Caps::QUOTA_BYTES | Caps::QUOTA_INODES, !args.rootless && project::enforced(args.root).is_ok());
        let info = Info {
            caps,
            max_parents: max_parents(found.interface) as u32,
            whiteout: whiteout_style(args.rootless),
            backing_fs,
            detail: found.detail(),
        };
        let root = open_dir(args.root, ".").during(|| format!("open `{}`", args.root_path.display()))?;
        let driver = Self {
            host,
            root,
            layout: Arc::new(layout),
            empty,
            interface: found.interface,
            volatile: found.volatile,
            userxattr: args.rootless,
        };
        Ok((driver, info))
    }

    fn stage_begin(&self, args: &StageArgs<'_>) -> Result<OverlayStage> {
        if args.quota_bytes != 0 || args.quota_inodes != 0 {
            if self.userxattr {
                return Err(Error::unsupported("a quota without root"));
            }
            project::enforced(self.root.as_fd())?;
        }
        OverlayStage::begin(Arc::clone(&self.layout), args, whiteout_style(self.userxattr), |parents| {
            self.view(parents, None, None)
        })
    }

    fn mount(&self, args: &MountArgs<'_>) -> Result<OwnedFd> {
        if let Some(option) = args.options.first() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("unknown mount option `{option}`: the overlay driver has none"),
            ));
        }
        let Some(mapped) = args.idmap_userns.map(|userns| Mapped::new(self.root.as_fd(), userns)).transpose()? else {
            return self.mount_on(args, None);
        };
        self.mount_on(args, Some(&mapped)).map_err(Mapped::explain)
    }

    fn changes(
        &self,
        rw_id: Key<'_>,
        parents: &[Key<'_>],
        yield_change: &mut dyn FnMut(&Change<'_>) -> Flow,
    ) -> Result<()> {
        let upper = open_writable_tree(&self.layout, rw_id, Use::Look)?.upper;
        let view = self.view(parents, None, None)?;
        let below = open_dir(view.as_fd(), ".").during(|| "open the view of the parents")?;
        changes::walk(upper, below, whiteout_style(self.userxattr), yield_change)
    }

    fn usage(&self, kind: ObjectKind, id: Key<'_>) -> Result<Usage> {
        let object = match kind {
            // What a crash made worthless occupies its bytes all the same.
            ObjectKind::Rw => open_dir(self.layout.open_object(kind, id)?.as_fd(), UPPER)
                .map_err(|errno| Error::os(errno, format_args!("open `rw/{id}/{UPPER}`")))
                .map_err(|error| error.with_kind(ErrorKind::Corrupt))?,
            ObjectKind::Layer | ObjectKind::Stage => self.layout.open_object(kind, id)?,
        };
        tree::usage(object.as_fd())
    }

    fn remove(&self, kind: ObjectKind, id: Key<'_>) -> Result<()> {
        if kind == ObjectKind::Layer {
            // First, so that a removal which is cut off here is finished by the next.
            root_dir::discard(&self.layout, self.root.as_fd(), id)?;
        }
        self.layout.discard(kind, id)
    }

    fn reap(&self, budget: Duration) -> Result<Left> {
        self.layout.reap_with(budget, |trash, name, deadline| {
            // Before it is deleted: a limit without a tree would be nobody's. What is deleted counts until it is gone, so
            // nobody takes the project meanwhile.
            if let Ok(object) = tree::open(trash, name) {
                project::lift(object.as_fd())?;
            }
            tree::remove(trash, name, deadline)
        })
    }

    fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        self.layout.list(yield_object)
    }

    fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        self.layout.check(kind, id, level)?;
        if kind == ObjectKind::Rw {
            open_writable_tree(&self.layout, id, Use::Look)?;
        }
        Ok(())
    }
}

impl Overlay {
    /// The mount of an object or of a chain, on the driver's directories as they are or with their ids mapped.
    fn mount_on(&self, args: &MountArgs<'_>, mapped: Option<&Mapped>) -> Result<OwnedFd> {
        let Some(id) = args.rw_id else { return self.view(args.parents, args.selinux_label, mapped) };
        let read_only = args.flags.contains(MountFlags::READONLY);
        let volatile = self.volatile && args.flags.contains(MountFlags::VOLATILE);
        let next = match (read_only, volatile) {
            (true, _) => Use::Read,
            (false, true) => Use::Volatile,
            (false, false) => Use::Durable,
        };
        let mut tree = open_writable_tree(&self.layout, id, next)?;
        if let Some(mapped) = mapped {
            tree = WritableTree {
                upper: mapped.dir(&format!("{RW}/{id}/{UPPER}"))?,
                work: mapped.dir(&format!("{RW}/{id}/{WORK}"))?,
            };
        }
        // Nothing will be written, so there is nothing to flush, and no mark is wanted.
        let upper = Upper { dir: tree.upper.as_fd(), work: tree.work.as_fd(), volatile: volatile && !read_only };
        self.stack(args.parents, args.selinux_label, mapped, |stack| {
            Stack { upper: Some(upper), read_only, ..stack }.mount(self.interface)
        })
    }

    /// A read-only mount of a chain.
    fn view(&self, parents: &[Key<'_>], selinux_label: Option<&str>, mapped: Option<&Mapped>) -> Result<OwnedFd> {
        if parents.is_empty() {
            return match mapped {
                Some(mapped) => clone_read_only(mapped.dir(EMPTY)?.as_fd()),
                None => clone_read_only(self.empty.as_fd()),
            };
        }
        let speaker = root_dir::speaker(&self.layout, parents)?;
        if speaker == 0 {
            return self.stack(parents, selinux_label, mapped, |stack| stack.mount(self.interface));
        }
        let roots = root_dir::open_roots(self.root.as_fd())?;
        root_dir::ensure_like(roots.as_fd(), &self.layout, parents[speaker])?;
        let roots = match mapped {
            Some(mapped) => mapped.dir(root_dir::ROOTS)?,
            None => roots,
        };
        let root = Lower { parent: roots.as_fd(), name: parents[speaker].as_str() };
        self.stack(parents, selinux_label, mapped, |stack| {
            let lowers: Vec<_> = std::iter::once(root).chain(stack.lowers.iter().copied()).collect();
            Stack { lowers: &lowers, ..stack }.mount(self.interface)
        })
    }

    /// Hands out the description of a read-only mount of a chain; writable ones build on it.
    fn stack<T>(
        &self,
        parents: &[Key<'_>],
        selinux_label: Option<&str>,
        mapped: Option<&Mapped>,
        then: impl FnOnce(Stack<'_>) -> Result<T>,
    ) -> Result<T> {
        let most = max_parents(self.interface);
        if parents.len() > most {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{} layers are more than the {most} an overlay mount takes here", parents.len()),
            ));
        }
        let opened = mapped.map(|mapped| Ok::<_, Error>((mapped.dir(LAYERS)?, mapped.dir(EMPTY)?))).transpose()?;
        let (layers, empty) = match &opened {
            Some((layers, empty)) => (layers.as_fd(), empty.as_fd()),
            None => (self.layout.dir(ObjectKind::Layer), self.empty.as_fd()),
        };
        let lowers: Vec<Lower<'_>> = parents.iter().map(|key| Lower { parent: layers, name: key.as_str() }).collect();
        then(Stack {
            lowers: &lowers,
            empty,
            upper: None,
            read_only: true,
            userxattr: self.userxattr,
            selinux_label,
            owner: mapped.map(|mapped| mapped.owner),
            root: self.root.as_fd(),
            host: self.host,
        })
    }
}

/// One less than the kernel takes: a view may need a directory on top, whose root it shows.
fn max_parents(interface: Interface) -> usize {
    interface.max_lowers() - 1
}

/// A user namespace may write `user.` attributes only.
pub(crate) fn whiteout_style(rootless: bool) -> Whiteout {
    if rootless { Whiteout::OverlayUser } else { Whiteout::OverlayTrusted }
}

/// An overlay needs two directories, and two empty ones would be one directory twice, which the kernel refuses.
fn clone_read_only(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(dir, "", flags).during(|| "clone the mount of the empty directory")?;
    mount_setattr(mount.as_fd(), MountAttr::RDONLY, None)
        .during(|| "make the mount of the empty directory read-only")?;
    Ok(mount)
}
