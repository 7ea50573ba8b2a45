//! The overlay storage driver: a layer is a directory, a container is an upper directory, the kernel's overlayfs shows them as one tree.
//!
//! ```text
//! <root>/layers/<key>       a layer, whiteouts in overlayfs' own style
//!        rw/<id>/fs, work   upper and work directory; volatile: a link that names the boot of a volatile mount
//!        stage/<id>         a layer being written, or fs and work of a container being made
//!        trash/             removed, waiting for reap
//!        empty/             nothing, ever: a lower directory for stacks that are too short
//!        probe/             for the moments of a probe, under a lock
//!        roots/<key>        an empty directory like the root of that layer, where a view needs one on top
//!        mnt/, locks/       only where something needs them
//! ```
//! A layer is stored without its parents, so the layers of an image unpack in parallel. A mount is detached: it is made of
//! descriptors and lives as long as the one it is returned as.
//!
//! Reading order: [`driver`](self) is the verbs, `stage` what is being written, `stack` the mount itself, `choices` its options and
//! the reasons for them, `probe` what `open` tries, `changes` the walk of an upper directory, `root_dir` whose root directory a
//! chain shows, `volatile` what a crash of the machine does to a container that asked for no flush.
//!
//! Deliberately absent: tar, ids other than the ones on disk, kernel versions.

mod changes;
mod choices;
mod driver;
mod mapped;
mod options;
mod probe;
mod root_dir;
mod stack;
mod stage;
mod volatile;

pub use driver::Overlay;
pub use stage::OverlayStage;

mica_storage_api::export_driver!(Overlay);
