//! `manifest`: lists of images for several platforms are made here, changed and forgotten. What is in a list is looked up
//! first, wherever it is; then one transaction changes the list.

mod documents;
mod member;
mod push;

use std::collections::BTreeMap;

pub use documents::ManifestDetails;
pub use push::{PushList, PushedList};

use crate::list::{ManifestList, Member, Remarks};
use crate::store::{Flush, images, lists};
use crate::{Engine, Error, Kind, Reference, Result};

/// A new list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateList {
    /// Its name.
    pub name: String,
    /// The images to begin with.
    pub images: Vec<String>,
    /// Of a name that stands for several images, take all of them.
    pub all: bool,
    /// What becomes of one that has the name.
    pub existing: Existing,
    /// Remarks on the whole.
    pub annotations: BTreeMap<String, String>,
}

/// What becomes of a list whose name a new one is to have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and making the new one fails.
    #[default]
    Keep,
    /// It is added to.
    Amend,
    /// It is forgotten, and an image of the name loses it, as by `tag`.
    Replace,
}

/// An image for a list that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddToList {
    /// The list.
    pub list: String,
    /// The image: one of the store, else one of a registry.
    pub image: String,
    /// Of a name that stands for several images, take all of them.
    pub all: bool,
    /// What the list says about it.
    pub remarks: Remarks,
}

impl Engine {
    /// Makes a list, or adds to one. Returns its name.
    pub async fn create_list(&self, request: CreateList) -> Result<Reference> {
        let reference = list_name(&request.name)?;
        let mut members = Vec::new();
        for image in &request.images {
            members.extend(self.members(image, request.all, &Remarks::default()).await?);
        }
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| {
                let found = lists::named(db, &reference)?;
                if found.is_some() && request.existing == Existing::Keep {
                    let message = "refusing to amend an existing manifest list with no --amend flag";
                    return Err(Error::refused(Kind::AlreadyExists, message).with_hint(format!(
                        "`--amend` adds to `{}`, and `mica manifest rm` removes it",
                        reference.familiar()
                    )));
                }
                let mut list = match request.existing {
                    Existing::Keep | Existing::Amend => found.unwrap_or_default(),
                    Existing::Replace => {
                        images::delete_tag(db, &reference)?;
                        ManifestList::default()
                    }
                };
                members.into_iter().for_each(|member| list.put(member));
                list.annotations.extend(request.annotations);
                keep(db, &reference, &list)?;
                Ok(reference)
            })
        })
        .await
    }

    /// Adds an image to a list. Returns the list's name.
    pub async fn add_to_list(&self, request: AddToList) -> Result<Reference> {
        let members = self.members(&request.image, request.all, &request.remarks).await?;
        self.change_list(&request.list, move |list, _| {
            members.into_iter().for_each(|member| list.put(member));
            Ok(())
        })
        .await
    }

    /// Changes what a list says about an image, or about itself when no image is named. Returns the list's name.
    pub async fn annotate_list(&self, list: &str, image: Option<&str>, remarks: Remarks) -> Result<Reference> {
        let image = image.map(str::to_owned);
        self.change_list(list, move |list, reference| {
            match &image {
                Some(image) => in_list(list, image, reference)?.remark(&remarks)?,
                None => list.annotations.extend(remarks.annotations),
            }
            Ok(())
        })
        .await
    }

    /// Takes an image out of a list. Returns the list's name.
    pub async fn take_from_list(&self, list: &str, image: &str) -> Result<Reference> {
        let image = image.to_owned();
        self.change_list(list, move |list, reference| {
            let name = in_list(list, &image, reference)?.name.clone();
            list.members.retain(|member| member.name != name);
            Ok(())
        })
        .await
    }

    /// Forgets a list; its images stay. Returns its name.
    pub async fn remove_list(&self, name: &str) -> Result<Reference> {
        let reference = list_name(name)?;
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| match lists::delete(db, &reference)? {
                true => Ok(reference),
                false => Err(no_such(&reference)),
            })
        })
        .await
    }

    /// Whether there is a list of this name here.
    pub async fn has_list(&self, name: &str) -> Result<bool> {
        let reference = list_name(name)?;
        Ok(self.find_list(&reference).await?.is_some())
    }

    pub(crate) async fn find_list(&self, reference: &Reference) -> Result<Option<ManifestList>> {
        let reference = reference.clone();
        self.blocking(move |engine| engine.store().read(|db| lists::named(db, &reference))).await
    }

    async fn change_list(
        &self,
        name: &str,
        change: impl FnOnce(&mut ManifestList, &Reference) -> Result<()> + Send + 'static,
    ) -> Result<Reference> {
        let reference = list_name(name)?;
        self.blocking(move |engine| {
            engine.store().write(Flush::Now, |db| {
                let mut list = lists::named(db, &reference)?.ok_or_else(|| no_such(&reference))?;
                change(&mut list, &reference)?;
                keep(db, &reference, &list)?;
                Ok(reference)
            })
        })
        .await
    }
}

/// A list's name is one that it can be pushed under.
fn list_name(name: &str) -> Result<Reference> {
    let reference = Reference::parse(name)?;
    if reference.digest().is_some() {
        let message = format!("`{}` has a digest, and a list gets its digest when it is pushed", reference.familiar());
        return Err(Error::refused(Kind::InvalidInput, message).with_hint("name it `repository:tag`"));
    }
    Ok(reference)
}

/// A list that has grown too long to be read back is not kept.
fn keep(db: &rusqlite::Transaction<'_>, reference: &Reference, list: &ManifestList) -> Result<()> {
    list.document()?;
    lists::set(db, reference, list)
}

fn in_list<'a>(list: &'a mut ManifestList, image: &str, reference: &Reference) -> Result<&'a mut Member> {
    match list.position(image) {
        Some(at) => Ok(&mut list.members[at]),
        None => {
            let shown =
                Reference::parse(image).map_or_else(|_| image.escape_debug().to_string(), |name| name.familiar());
            let message = format!("manifest for image {shown} does not exist in {}", reference.familiar());
            Err(Error::refused(Kind::NotFound, message)
                .with_hint("name it as it was added, or by the digest that `mica manifest inspect` shows"))
        }
    }
}

fn no_such(reference: &Reference) -> Error {
    Error::refused(Kind::NotFound, format!("no such manifest: {}", reference.familiar()))
        .with_hint("`mica manifest create` makes one")
}
