//! `ps` and `inspect`: containers with their states, chosen by filters.

use crate::container::{ContainerRecord, ContainerState};
use crate::{Engine, Result};

/// Which containers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PsRequest {
    /// Also those that do not run.
    pub all: bool,
    /// The last so many created, in any state.
    pub last: Option<usize>,
    /// `--filter` arguments, `key=value`. Values of one key are alternatives; keys must all hold.
    pub filters: Vec<String>,
    /// Compute sizes.
    pub sizes: bool,
}

/// A container in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSummary {
    /// What was asked for and resolved.
    pub record: ContainerRecord,
    /// What it is doing.
    pub state: ContainerState,
    /// When asked for.
    pub size: Option<ContainerSize>,
}

/// Bytes a container takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// What it wrote.
    pub writable: u64,
    /// With the image below it (`virtual`).
    pub total: u64,
}

impl Engine {
    /// Lists containers, newest first.
    pub async fn ps(&self, request: PsRequest) -> Result<Vec<ContainerSummary>> {
        let _ = request;
        todo!()
    }

    /// One container, by ID, prefix or name.
    pub async fn container(&self, container: &str) -> Result<ContainerSummary> {
        let _ = container;
        todo!()
    }

    /// Bytes a container takes; may walk what it wrote.
    pub async fn container_size(&self, container: &str) -> Result<ContainerSize> {
        let _ = container;
        todo!()
    }
}
