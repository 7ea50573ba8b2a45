//! `history`: the steps an image was made by, newest first.

use mica_layer::{DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _};

use crate::store::images::{stack_of, tags_of};
use crate::{Engine, Error, Reference, Result};

/// One line of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The image this step made; only the top one is known, the others show `<missing>`.
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
    pub references: Vec<Reference>,
}

impl Engine {
    /// The history of an image.
    pub async fn history(&self, name: &str) -> Result<Vec<HistoryLine>> {
        let name = name.to_owned();
        self.blocking(move |engine| {
            let store = engine.store();
            let image = store.find_image(&name)?;
            let (references, sizes) = store.read(|db| {
                let sizes: Result<Vec<u64>> = stack_of(db, &image.id)?.iter().map(|layer| size_of(db, layer)).collect();
                Ok((tags_of(db, &image.id)?, sizes?))
            })?;
            let mut sizes = sizes.into_iter();
            let mut lines: Vec<HistoryLine> = image
                .config
                .history
                .iter()
                .map(|entry| HistoryLine {
                    id: None,
                    created: entry.created.clone(),
                    created_by: entry.created_by.clone().unwrap_or_default(),
                    size: if entry.empty_layer { 0 } else { sizes.next().unwrap_or_default() },
                    comment: entry.comment.clone().unwrap_or_default(),
                    references: Vec::new(),
                })
                .collect();
            // A config may have fewer history entries than layers, or none (image-spec, `config.md`): they are optional.
            lines.extend(sizes.map(|size| HistoryLine {
                id: None,
                created: image.config.created.clone(),
                created_by: String::new(),
                size,
                comment: String::new(),
                references: Vec::new(),
            }));
            lines.reverse();
            if let Some(top) = lines.first_mut() {
                top.id = Some(image.id);
                top.references = references;
            }
            Ok(lines)
        })
        .await
    }
}

fn size_of(db: &Connection, layer: &DiffId) -> Result<u64> {
    let size: Option<i64> = db
        .prepare_cached("SELECT size FROM layers WHERE diff_id = ?1")
        .and_then(|mut statement| statement.query_row([layer.0.as_str()], |row| row.get(0)).optional())
        .map_err(Error::database("read a layer's size"))?;
    Ok(size.unwrap_or_default().unsigned_abs())
}
