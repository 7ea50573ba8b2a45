//! OCI bundles: a container's record and what its image says become an `oci_spec::runtime::Spec`.
//!
//! Everything is a pure function of values but [`user::lookup`], [`host`], [`devices`], [`block_io`] and [`support::Facts`], which read; nothing here
//! writes. What is deliberately absent: anything that an image could use to choose its own privileges. Labels become
//! neither annotations nor options, and the only words of an image that reach the configuration are its command,
//! environment, user, working directory and volume paths.

pub mod apparmor;
pub mod block_io;
pub mod capabilities;
pub mod devices;
pub mod files;
pub mod host;
pub mod merge;
pub mod mounts;
pub mod namespaces;
pub mod resources;
pub mod seccomp;
mod seccomp_calls;
pub mod seccomp_file;
pub mod spec;
pub mod support;
pub mod user;

/// 64 hexadecimal digits that nobody else has.
pub(crate) fn random_id() -> String {
    format!("{}{}", crate::store::fresh_id(), crate::store::fresh_id())
}
