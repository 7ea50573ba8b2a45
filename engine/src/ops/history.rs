//! `history`: the steps an image was made by, newest first.

use crate::{Engine, Result};
use mica_layer::Digest;

/// One line of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The image this step made; only the top one and tagged ones are known, the others show `<missing>`.
    pub id: Option<Digest>,
    /// RFC 3339.
    pub created: Option<String>,
    /// The instruction.
    pub created_by: String,
    /// Bytes of file content the step added.
    pub size: u64,
    /// The remark of a commit.
    pub comment: String,
    /// Names of the image, for the top line.
    pub references: Vec<crate::Reference>,
}

impl Engine {
    /// The history of an image.
    pub async fn history(&self, name: &str) -> Result<Vec<HistoryLine>> {
        let _ = name;
        todo!()
    }
}
