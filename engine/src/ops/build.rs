//! `build`: a builder's steps, run on the store.

use crate::build::{BuildOutcome, BuildProgress, BuildRequest};
use crate::{Engine, Result};

impl Engine {
    /// Builds an image.
    pub async fn build(&self, request: BuildRequest, progress: &dyn BuildProgress) -> Result<BuildOutcome> {
        let _ = (request, progress);
        todo!()
    }
}
