//! The container engine: domain values, the traits its adapters implement, the store, and one file per verb in [`ops`].
//!
//! What is deliberately absent: adapters (Dockerfiles, OCI runtimes, registries), the terminal, the process
//! environment, `$HOME`, and any decision about where a snapshot's bytes live, which belongs to storage drivers.

pub mod build;
pub mod bundle;
pub mod container;
pub mod engine;
pub mod error;
mod filter;
pub mod image;
pub mod ops;
pub mod reference;
pub mod runtime;
pub mod storage;
pub mod store;

pub use engine::{Durability, Engine, Options, Reaping};
pub use error::{Error, Kind, Result};
pub use reference::Reference;
