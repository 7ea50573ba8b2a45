//! `create`: image and request become a container that has not run.

use crate::container::ContainerSpec;
use crate::{Engine, Result};

/// What to create.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The container.
    pub spec: ContainerSpec,
    /// When a registry is asked for the image.
    pub pull: PullPolicy,
}

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When the image is not local.
    #[default]
    Missing,
    /// Before every use.
    Always,
    /// Never.
    Never,
}

/// A new container.
#[derive(Debug, Clone)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Creates a container. Its row comes last, so whatever a cut-off `create` leaves is garbage that recovery clears.
    pub async fn create(&self, request: CreateRequest) -> Result<Created> {
        let _ = request;
        todo!()
    }
}
