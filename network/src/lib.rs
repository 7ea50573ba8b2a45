//! Networks of containers on this machine, spoken to the kernel directly: no `ip`, no `nft`, no daemon.
//!
//! ```text
//! host.rs      what is up: bridges, kernel settings, and rules.rs, the one table of all networks
//! lease.rs     who has which address, in files that count as long as the container lives
//! publish.rs   ports: reserved by sockets, led by a table that goes with its socket
//! inside.rs    a container's namespace and what is in it
//! serve.rs     starting names/, the name server of containers in networks that were created
//! answer.rs    what it answers, a function of what is known and of a question
//! carry.rs     starting ports/, which carries connections where packet rules cannot lead them
//! around.rs    the namespace around all of it for a user without privileges
//! helper.rs    how names/ and ports/ are started and told what to do
//! adapter.rs   the engine's `Network` made of these
//! ```
//!
//! Deliberately absent: images, the store, and any process on the way of a start but the name server and the one that carries
//! ports.

mod adapter;
pub mod answer;
pub mod around;
pub mod carry;
pub mod error;
pub mod helper;
mod host;
mod inside;
pub mod lease;
mod link;
mod netlink;
mod nft;
mod options;
pub mod pool;
mod publish;
pub mod resolvers;
mod rules;
pub mod serve;

pub use adapter::{KernelNetwork, Programs, tag_of};
pub use error::Error;
