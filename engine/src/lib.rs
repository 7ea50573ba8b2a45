//! The container engine: domain values, the traits its adapters implement, the store, and one file per verb in [`ops`].
//!
//! What is deliberately absent: adapters (Dockerfiles, OCI runtimes, registries), the terminal, the process
//! environment, `$HOME`, and any decision about where a snapshot's bytes live, which belongs to storage drivers.

pub mod build;
pub mod bundle;
pub mod cdi;
pub mod cgroup;
pub mod container;
mod download;
pub mod engine;
pub mod error;
pub mod events;
mod filter;
pub mod image;
mod layout;
pub mod list;
pub mod manifest;
pub mod network;
pub mod ops;
mod parallel;
pub mod platform;
pub mod reference;
pub mod registry;
pub mod runtime;
pub mod storage;
pub mod store;

pub use engine::{Durability, Engine, Options, Reaping};
pub use error::{Error, Kind, Result};
pub use platform::Platform;
pub use reference::Reference;
pub use storage::bounds::LayerBounds;
