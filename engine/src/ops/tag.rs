//! `tag`: one more name for an image.

use crate::events::Actor;
use crate::store::Flush;
use crate::store::images::{Tagged, resolve, set_tag};
use crate::store::remote::index_of;
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
            let image = engine.store().write(Flush::Now, |db| {
                let source = resolve(db, &source)?;
                let index = source.reference.as_ref().map(|name| index_of(db, name)).transpose()?.flatten();
                let target = Tagged { image: &source.id, index: index.as_ref(), manifest: source.manifest.as_ref() };
                set_tag(db, &reference, target)?;
                Ok(source.id)
            })?;
            engine.tell("image", "tag", Actor::named(image.as_str(), &reference.familiar()));
            Ok(())
        })
        .await
    }
}
