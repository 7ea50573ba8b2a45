//! What a driver says about itself after it has looked at its real root.

bitflags::bitflags! {
    /// Capabilities: facts about this root, not hopes. The bits are those of `MICA_CAP_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Caps: u64 {
        /// A layer is stored without its parents: layers apply in parallel, in any order.
        const INDEPENDENT_LAYERS = 1 << 0;
        /// A snapshot costs O(tree): the engine commits image tops only.
        const LINEAR_SNAPSHOT = 1 << 1;
        /// `changes` is O(changes).
        const CHANGES = 1 << 2;
        /// A stage may turn an rw object into a layer without copying.
        const PROMOTE = 1 << 3;
        /// `mount` returns a detached mount.
        const DETACHED_MOUNT = 1 << 4;
        /// The parents of a mount can be id-mapped.
        const IDMAP_LOWER = 1 << 5;
        /// The rw object of a mount can be id-mapped.
        const IDMAP_UPPER = 1 << 6;
        /// `StageArgs::quota_bytes` is enforced.
        const QUOTA_BYTES = 1 << 7;
        /// `StageArgs::quota_inodes` is enforced.
        const QUOTA_INODES = 1 << 8;
        /// `usage` is O(1).
        const USAGE_O1 = 1 << 9;
        /// Copies below this root share their bytes.
        const REFLINK = 1 << 10;
        /// `MountFlags::VOLATILE` saves work.
        const VOLATILE = 1 << 11;
        /// Works without root, inside a user namespace.
        const USERNS = 1 << 12;
        /// A commit is durable when it returns: the engine skips its syncfs.
        const SELF_DURABLE = 1 << 13;
        /// A new rw object is on the disk as soon as anything later on its file system is: the engine skips its syncfs.
        const RW_DURABLE = 1 << 14;
    }
}

impl Caps {
    /// The names in this set, in the order of the bits, as `mica storage info` and the conformance suite print them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter_names().map(|(name, _)| name)
    }
}

/// How a deletion is written into the target of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Whiteout {
    /// The target shows the parents' files: delete them.
    Direct = 0,
    /// A character device 0:0; `trusted.overlay.opaque`.
    OverlayTrusted = 1,
    /// A character device 0:0; `user.overlay.opaque`.
    OverlayUser = 2,
    /// `.wh.<name>` and `.wh..wh..opq`.
    OciFiles = 3,
}

impl Whiteout {
    /// The style with this number in the C interface.
    pub fn from_code(code: u32) -> Option<Self> {
        [Self::Direct, Self::OverlayTrusted, Self::OverlayUser, Self::OciFiles]
            .into_iter()
            .find(|style| *style as u32 == code)
    }
}

/// What `open` found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// What works on this root.
    pub caps: Caps,
    /// The longest chain a mount takes; 0: no limit.
    pub max_parents: u32,
    /// How deletions are written into a layer stage.
    pub whiteout: Whiteout,
    /// The file system of the root, as `ext4`.
    pub backing_fs: String,
    /// Anything else worth a line in `mica info`.
    pub detail: String,
}
