//! The storage driver contract: the traits a driver implements, the values that cross, and the C table they become.
//!
//! A driver maps *(key, chain of parents)* to bytes below one directory of its own, and those bytes to a mount. It is
//! stateless, synchronous and dumb: the engine passes the full chain on every call and owns ids, names, locks, tar,
//! digests, durability and recovery. A driver author writes [`StorageDriver`] and [`Stage`] and ends the crate with
//! [`export_driver!`]; `docs/plugin-abi.md` tells the life cycle with worked walks, `include/mica_storage.h` is the same
//! contract for other languages.
//!
//! Reading order: [`driver`] (the verbs), [`args`] and [`caps`] (the values), [`error`], [`host`] (what the engine offers
//! back), [`layout`], [`tree`], [`copy`], [`changes`] and [`project`] (directory work most drivers share), [`idmap`] and
//! [`userns`] (mapped ids), [`sys`] (kernel calls without a safe wrapper elsewhere), [`abi`] (the C side).
//!
//! Deliberately absent: async, logging frameworks, tar, images, the names users see, the environment.

pub mod abi;
pub mod args;
pub mod caps;
pub mod changes;
pub mod copy;
pub mod driver;
pub mod error;
pub mod host;
pub mod idmap;
pub mod key;
pub mod layout;
pub mod project;
pub mod sys;
pub mod tree;
pub mod userns;

pub use args::{
    Change, ChangeKind, CheckLevel, Flow, Left, MountArgs, MountFlags, ObjectKind, OpenArgs, StageArgs, StageKind,
    Usage,
};
pub use caps::{Caps, Info, Whiteout};
pub use driver::{Stage, StorageDriver, Target};
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use host::{Host, LogLevel};
pub use key::{Key, KeyBuf};
