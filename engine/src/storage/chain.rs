//! [`Chain`]: what a mount needs, held in place while it is needed.

use mica_layer::{ChainId, DiffId};

/// A stack of layers as a driver holds it. Nobody removes any of it while this value lives.
#[derive(Debug)]
pub struct Chain {
    pub(crate) driver: String,
    pub(crate) stack: Vec<DiffId>,
    pub(crate) chain_id: Option<ChainId>,
    pub(crate) keys: Vec<String>,
}

impl Chain {
    /// The driver that holds it.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The stack's identity; `None` for `scratch`.
    pub fn chain_id(&self) -> Option<&ChainId> {
        self.chain_id.as_ref()
    }

    /// The layers, bottom first.
    pub fn stack(&self) -> &[DiffId] {
        &self.stack
    }

    /// The driver's keys, top first.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

/// A writable tree that became a layer.
#[derive(Debug)]
pub struct Sealed {
    /// The new layer.
    pub diff_id: DiffId,
    /// Bytes of file content in it.
    pub size: u64,
    /// The stack with the new layer on top, held in place.
    pub chain: Chain,
}
