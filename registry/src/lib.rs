//! The client of OCI registries: `impl Registry` over HTTP, with credentials, mirrors, redirects and retries.
//!
//! It knows no store, snapshot or container. [`HttpRegistry`] is what the command line wires in; where registries are and
//! who may use them comes from a [`Directory`] and from [`Credentials`].
//!
//! Both are read from what users have already by [`config`]; they can be anything else. Which images are admitted is said by a
//! [`policy`].
//!
//! Reading order: [`endpoint`] (where), [`credential`] (who), [`challenge`] and `authority` (how a request is signed),
//! `session` (one request, with redirects and retries), then what is asked: `documents`, `blobs`, `upload`, `listing`.

mod authority;
mod blobs;
pub mod challenge;
mod client;
pub mod config;
pub mod credential;
mod documents;
pub mod endpoint;
mod failure;
mod listing;
mod patience;
pub mod policy;
mod session;
mod upload;

pub use authority::LoginOutcome;
pub use client::HttpRegistry;
pub use credential::{Credential, Credentials};
pub use endpoint::{Directory, Endpoint, Verify};
pub use patience::Patience;
