//! The values that go into a driver call and come out of it.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::key::Key;

/// What `open` gets. The root directory exists and belongs to this driver alone.
#[derive(Clone, Copy, Debug)]
pub struct OpenArgs<'a> {
    /// Identifies the call to `Host::progress`.
    pub call_id: u64,
    /// The driver's root; work below it, never through `root_path`.
    pub root: BorrowedFd<'a>,
    /// Where the root was found, for messages.
    pub root_path: &'a Path,
    /// `key=value` each, from the configuration; an unknown key is [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    pub options: &'a [&'a str],
    /// Whether the host lives in a user namespace that is not the initial one.
    pub rootless: bool,
    /// The user namespace whose ids the store shows, where it is not the host's.
    pub userns: Option<BorrowedFd<'a>>,
}

/// What a name in a driver's root stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ObjectKind {
    /// A committed, immutable layer.
    Layer = 1,
    /// The writable tree of a container or build step.
    Rw = 2,
    /// A stage that was neither committed nor aborted.
    Stage = 3,
}

impl ObjectKind {
    /// The kind with this number in the C interface.
    pub fn from_code(code: u32) -> Option<Self> {
        [Self::Layer, Self::Rw, Self::Stage].into_iter().find(|kind| *kind as u32 == code)
    }
}

/// What a stage becomes when it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageKind {
    /// A new layer; `StageArgs::id` is a fresh name.
    Layer,
    /// A writable tree on top of the parents; `StageArgs::id` is a fresh name, the commit's key is the rw object's name.
    Rw,
    /// The rw object `StageArgs::id` becomes a layer with the same parents, without a copy. It stays intact until the
    /// commit publishes, and an abort leaves it as it was; a successful commit consumes it. Needs [`Caps::PROMOTE`](crate::Caps::PROMOTE).
    Promote,
}

/// What `stage_begin` gets.
#[derive(Clone, Copy, Debug)]
pub struct StageArgs<'a> {
    /// Identifies the call to `Host::progress`.
    pub call_id: u64,
    /// What it becomes.
    pub kind: StageKind,
    /// The stage's own name, or for [`StageKind::Promote`] the rw object's.
    pub id: Key<'a>,
    /// The full chain, top first. The engine holds every parent in place for the call.
    pub parents: &'a [Key<'a>],
    /// Permission bits of the root directory when there is no parent.
    pub root_mode: u32,
    /// Owner of the root directory when there is no parent.
    pub root_uid: u32,
    /// Group of the root directory when there is no parent.
    pub root_gid: u32,
    /// Most bytes the object may take; 0: no limit.
    pub quota_bytes: u64,
    /// Most inodes the object may take; 0: no limit.
    pub quota_inodes: u64,
}

impl<'a> StageArgs<'a> {
    /// A stage on these parents; the root directory is 0755 root:root, there is no quota.
    pub fn new(kind: StageKind, id: Key<'a>, parents: &'a [Key<'a>]) -> Self {
        Self {
            call_id: 0,
            kind,
            id,
            parents,
            root_mode: 0o755,
            root_uid: 0,
            root_gid: 0,
            quota_bytes: 0,
            quota_inodes: 0,
        }
    }
}

bitflags::bitflags! {
    /// How to mount. The bits are those of `MICA_MOUNT_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MountFlags: u32 {
        /// Nothing may be written.
        const READONLY = 1 << 0;
        /// The rw object need not survive a crash of the machine.
        const VOLATILE = 1 << 1;
    }
}

/// What `mount` gets.
#[derive(Clone, Copy, Debug)]
pub struct MountArgs<'a> {
    /// Identifies the call to `Host::progress`.
    pub call_id: u64,
    /// The writable tree; `None`: a read-only view of the parents.
    pub rw_id: Option<Key<'a>>,
    /// The full chain, top first.
    pub parents: &'a [Key<'a>],
    /// Read-only, volatile.
    pub flags: MountFlags,
    /// Ids inside the mount are those of this user namespace.
    pub idmap_userns: Option<BorrowedFd<'a>>,
    /// The SELinux context of everything in the mount.
    pub selinux_label: Option<&'a str>,
    /// `key=value` each, driver specific.
    pub options: &'a [&'a str],
}

impl<'a> MountArgs<'a> {
    /// The rw object on these parents, writable, without anything special.
    pub fn rw(id: Key<'a>, parents: &'a [Key<'a>]) -> Self {
        Self { rw_id: Some(id), ..Self::view(parents) }
    }

    /// A read-only view of the chain.
    pub fn view(parents: &'a [Key<'a>]) -> Self {
        Self {
            call_id: 0,
            rw_id: None,
            parents,
            flags: MountFlags::empty(),
            idmap_userns: None,
            selinux_label: None,
            options: &[],
        }
    }
}

/// How an entry of an rw object differs from its parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ChangeKind {
    /// It did not exist below.
    Added = 1,
    /// It exists below and its content or metadata changed.
    Modified = 2,
    /// It exists below and is gone.
    Deleted = 3,
    /// A directory that hides all that lies below it.
    Opaque = 4,
}

impl ChangeKind {
    /// The kind with this number in the C interface.
    pub fn from_code(code: u32) -> Option<Self> {
        [Self::Added, Self::Modified, Self::Deleted, Self::Opaque].into_iter().find(|kind| *kind as u32 == code)
    }
}

/// One difference, with the means to read it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What happened.
    pub kind: ChangeKind,
    /// Where, relative to the root of the tree; the root itself is the empty path.
    pub path: &'a Path,
    /// The directory that holds the entry; `None` for deletions.
    pub dir: Option<BorrowedFd<'a>>,
    /// The entry's name in `dir`; empty for the root itself, which is `dir`.
    pub name: &'a OsStr,
}

/// What an object occupies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk that would come back if it went.
    pub bytes: u64,
    /// Inodes likewise.
    pub inodes: u64,
}

/// How closely `check` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CheckLevel {
    /// The object is there and has the driver's shape: O(1).
    Present = 0,
    /// Everything the driver can verify.
    Deep = 1,
}

impl CheckLevel {
    /// The level with this number in the C interface.
    pub fn from_code(code: u32) -> Option<Self> {
        [Self::Present, Self::Deep].into_iter().find(|level| *level as u32 == code)
    }
}

/// Whether an enumeration or a long call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop.
    Stop,
}

/// Whether `reap` ran out of budget before it ran out of trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    /// The trash is empty.
    Nothing,
    /// Call again.
    More,
}
