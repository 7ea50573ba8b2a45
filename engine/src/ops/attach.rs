//! `attach`: a further client on a running container's streams.

use crate::ops::start::Started;
use crate::{Engine, Result};

impl Engine {
    /// Attaches to a running container.
    pub async fn attach(&self, container: &str) -> Result<Started> {
        let _ = container;
        todo!()
    }
}
