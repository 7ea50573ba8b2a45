//! Containers without privileges: the namespaces in which a user is root, shared by everything that user does with one store.
//!
//! A user has one user namespace for each run root, with a mount namespace and a network namespace that belong to it. They are
//! held by a small process, `mica-holder`, which hands them to whoever connects to its socket and ends some seconds after the
//! last connection was closed. Commands enter the first two; the network namespace has the bridges of the user's networks, and
//! a way out by `pasta` or `slirp4netns` once somebody asks for one. What this crate must not know: stores, containers, what is done in there.

mod create;
mod error;
pub mod groups;
pub mod ids;
mod join;
pub mod survivor;
pub mod wire;

pub use error::{Error, Result};
pub use join::{Joined, enter, visit};

/// True when this process is in a user namespace that does not have every user of the machine.
pub fn is_confined() -> bool {
    let map = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // user_namespaces(7): the first namespace maps all 2^32 - 1 users to themselves.
    map.split_whitespace().ne(["0", "0", "4294967295"])
}
