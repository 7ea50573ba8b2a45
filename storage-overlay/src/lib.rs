//! The overlay storage driver: a layer is a directory, a container is an upper directory, the kernel's overlayfs shows them as one tree.
//!
//! ```text
//! <root>/layers/<key>       a layer, whiteouts in overlayfs' own style
//!        rw/<id>/fs, work   upper and work directory
//!        stage/<id>         a layer being written, or fs and work of a container being made
//!        trash/             removed, waiting for reap
//!        empty/             nothing, ever: a lower directory for stacks that are too short
//!        probe/             for the moments of a probe, under a lock
//!        mnt/, locks/       only where something needs them
//! ```
//! A layer is stored without its parents, so the layers of an image unpack in parallel. A mount is detached: it is made of
//! descriptors and lives as long as the one it is returned as.
//!
//! Reading order: [`driver`](self) is the verbs, `stage` what is being written, `stack` the mount itself, `probe` what `open` tries,
//! `changes` the walk of an upper directory.
//!
//! Deliberately absent: tar, ids other than the ones on disk, kernel versions.

mod changes;
mod driver;
mod options;
mod probe;
mod root_dir;
mod stack;
mod stage;

pub use driver::Overlay;
pub use stage::OverlayStage;

mica_storage_api::export_driver!(Overlay);
