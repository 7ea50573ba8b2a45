//! Networks of a user without privileges: they are in a network namespace of the user's, not in the machine's.
//!
//! Everything that is done to the kernel is done in there. What crosses its border are packets to the outside, which somebody
//! else carries (a [`WayOut`]), and connections to published ports, which `mica-ports` carries (`carry.rs`): it holds sockets
//! of the machine's network, and reaches the container from inside the namespace.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mica_engine::Kind;

use crate::error::{Error, Result};

/// Gives the namespace a way to the outside, unless it has one. Fails with the reason.
pub type WayOut = Arc<dyn Fn() -> std::result::Result<(), String> + Send + Sync>;

/// A network namespace around the networks.
#[derive(Clone)]
pub struct Around {
    /// The namespace.
    pub namespace: Arc<OwnedFd>,
    /// Its way out.
    pub way_out: WayOut,
}

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Around {
    /// Sees to it that there is a way out.
    pub fn open(&self) -> Result<()> {
        (self.way_out)().map_err(|reason| Error::refused(Kind::Unavailable, reason))
    }
}
