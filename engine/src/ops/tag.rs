//! `tag`: one more name for an image.

use crate::store::Flush;
use crate::store::images::{resolve, set_tag};
use crate::{Engine, Error, Kind, Reference, Result};

impl Engine {
    /// Gives the image called `source` the name `target`; an image that had the name loses it.
    pub async fn tag(&self, source: &str, target: &str) -> Result<()> {
        let reference = Reference::parse(target)?;
        if reference.digest().is_some() {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!("`{target}` has a digest, and a name that is given cannot"),
            )
            .with_hint("name it `repository:tag`"));
        }
        let source = source.to_owned();
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| {
                let image = resolve(db, &source)?.id;
                set_tag(db, &reference, &image).map(drop)
            })
        })
        .await
    }
}
