//! `tag`: one more name for an image.

use crate::{Engine, Result};

impl Engine {
    /// Gives the image called `source` the name `target`; an image that had the name loses it.
    pub async fn tag(&self, source: &str, target: &str) -> Result<()> {
        let _ = (source, target);
        todo!()
    }
}
