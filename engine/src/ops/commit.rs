//! `commit`: what a container has changed becomes one more layer over its image.

// e1: the integrator is writing this file now (21:40); leave it.

use mica_layer::Digest;

use crate::{Engine, Result};

/// What `commit` makes.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Container, by name or ID.
    pub container: String,
    /// `REPOSITORY[:TAG]` to give it.
    pub reference: Option<String>,
    /// The config's author.
    pub author: Option<String>,
    /// The history entry's comment.
    pub message: Option<String>,
    /// Dockerfile instructions for the config.
    pub changes: Vec<String>,
}

impl Engine {
    /// Makes an image of a container and returns its ID.
    pub async fn commit(&self, request: CommitRequest) -> Result<Digest> {
        let _ = request;
        todo!()
    }
}
