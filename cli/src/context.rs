//! What a command works with: the settings, and the engine once it is asked for.

use std::sync::Arc;

use mica_engine::Engine;
use mica_rootless::Joined;

use crate::settings::Settings;
use crate::wire;

/// What a command works with.
#[derive(Debug)]
pub struct Context {
    /// Every setting, resolved.
    pub settings: Settings,
    /// The namespaces of a user without privileges.
    pub joined: Option<Arc<Joined>>,
}

impl Context {
    /// Opens the engine. Commands that need no store never call it, and then no store is made.
    pub fn engine(&self) -> anyhow::Result<Engine> {
        Ok(Engine::open(wire::options(self)?)?)
    }
}
