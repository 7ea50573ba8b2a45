//! `rmi`: a name goes, and with the last name the image and everything nobody else needs.

use mica_layer::Digest;

use crate::{Engine, Reference, Result};

/// How `rmi` behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveImage {
    /// Remove an image that has several names, or that stopped containers use.
    pub force: bool,
}

/// One line of what `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(Reference),
    /// An image, or a layer of it (by chain ID), is gone.
    Deleted(Digest),
}

impl Engine {
    /// Removes a name or an image.
    pub async fn remove_image(&self, name: &str, options: RemoveImage) -> Result<Vec<Removed>> {
        let _ = (name, options);
        todo!()
    }
}
