//! The btrfs storage driver: a layer is a read-only subvolume, a container a writable snapshot of one.
//!
//! ```text
//! <root>/layers/<key>   read-only subvolume, the whole tree of its chain
//!        rw/<id>        writable subvolume
//!        stage/<id>     either, before it is published
//!        trash/         subvolumes without a name, waiting for reap
//!        empty          read-only subvolume: the view of no layers
//!        locks/         the host's
//! ```
//! A snapshot costs the same for any tree, so deletions happen in the tree itself and a mount shows one subvolume. No `btrfs`
//! program is run. Quotas are left as they are unless `quota=simple` asks for them; where simple quotas are on, containers can be
//! limited.
//!
//! Reading order: `driver` is the verbs, `stage` what is being written, `subvolume` the few operations on one, `quota` the limits
//! of containers, `changes` what one has changed, `ioctl` the kernel's numbers.
//!
//! Deliberately absent: send and receive, mounting the file system.

mod changes;
mod driver;
mod ioctl;
mod quota;
mod stage;
mod subvolume;

pub use driver::Btrfs;
pub use stage::BtrfsStage;

mica_storage_api::export_driver!(Btrfs);
