//! The verbs on networks.

mod connect;
mod create;
mod list;
mod remove;

pub use create::NetworkRequest;
pub use list::{NetworkDetails, PREDEFINED};
pub use remove::PrunedNetworks;
