//! `images`: the list of images, from kept figures alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mica_layer::Digest;
use rusqlite::Connection;

use crate::filter;
use crate::store::images::{all, all_tags, collect, resolve};
use crate::store::{lists, remote};
use crate::{Engine, Reference, Result};

/// One image as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The image's ID.
    pub id: Digest,
    /// Its names, sorted; empty for a dangling image.
    pub references: Vec<Reference>,
    /// What registries call it by, `repository@digest`, sorted.
    pub digests: Vec<Reference>,
    /// Lists made here that lead to it on this machine, sorted.
    pub lists: Vec<Reference>,
    /// Digest of the last manifest it came with, when it came with one.
    pub manifest: Option<Digest>,
    /// What its names came with, by name.
    pub came_with: BTreeMap<Reference, CameWith>,
    /// RFC 3339, as the config has it.
    pub created: Option<String>,
    /// Bytes of file content in all layers.
    pub size: u64,
    /// Number of containers made from it.
    pub containers: u64,
    /// Labels of the config.
    pub labels: BTreeMap<String, String>,
}

/// What a name stood for where it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameWith {
    /// Digest of the index, when it stood for one.
    pub index: Option<Digest>,
    /// Digest of the image's manifest.
    pub manifest: Option<Digest>,
}

impl ImageSummary {
    /// The digest that goes with one of its names: that by which the name's repository calls the image, else that of a
    /// manifest.
    pub fn digest_of<'a>(&'a self, name: &'a Reference) -> Option<&'a Digest> {
        let came_with = self.came_with.get(name);
        let own = came_with.and_then(|came_with| came_with.index.as_ref().or(came_with.manifest.as_ref()));
        let known = || self.digests.iter().filter(|known| known.repository() == name.repository());
        let known = known().find(|known| known.digest() == own).or_else(|| known().next());
        let manifest = || came_with.and_then(|came_with| came_with.manifest.as_ref()).or(self.manifest.as_ref());
        name.digest().or_else(|| known.and_then(Reference::digest)).or_else(manifest)
    }

    /// True when nothing names it any more.
    pub fn is_dangling(&self) -> bool {
        self.references.is_empty() && self.digests.is_empty() && self.lists.is_empty()
    }
}

impl Engine {
    /// Lists images, youngest first. Filters are `name=value` pairs: `dangling`, `reference`, `before`, `since`,
    /// `label`, `until`. Several values of `reference` are alternatives; everything else must hold together.
    pub async fn images(&self, filters: &[(String, String)]) -> Result<Vec<ImageSummary>> {
        filter::known(filters, &["before", "dangling", "label", "reference", "since", "until"])?;
        let filters = filters.to_vec();
        self.blocking(move |engine| engine.store().read(|db| chosen(db, &filters))).await
    }
}

fn chosen(db: &Connection, filters: &[(String, String)]) -> Result<Vec<ImageSummary>> {
    let mut images = summaries(db)?;
    let patterns: Vec<&str> = values(filters, "reference").collect();
    if !patterns.is_empty() {
        for image in &mut images {
            let is_wanted = |name: &Reference| patterns.iter().any(|pattern| is_called(name, pattern));
            image.references.retain(is_wanted);
            image.lists.retain(is_wanted);
        }
        images.retain(|image| !image.references.is_empty() || !image.lists.is_empty());
    }
    for (name, value) in filters {
        let keep: Box<dyn Fn(&ImageSummary) -> bool> = match name.as_str() {
            "dangling" => {
                let wanted = filter::boolean(name, value)?;
                Box::new(move |image| image.is_dangling() == wanted)
            }
            "label" => Box::new(|image| filter::has_label(&image.labels, value)),
            "before" | "since" => {
                let border = resolve(db, value)?.id;
                let border = images.iter().find(|image| image.id == border).and_then(|image| image.created.clone());
                let is_before = name == "before";
                Box::new(move |image| if is_before { image.created < border } else { image.created > border })
            }
            "until" => {
                let until = filter::point_in_time(value, Timestamp::now())?;
                Box::new(move |image| {
                    image
                        .created
                        .as_deref()
                        .and_then(|time| time.parse::<Timestamp>().ok())
                        .is_none_or(|time| time < until)
                })
            }
            _ => continue,
        };
        images = images.iter().filter(|image| keep(image)).cloned().collect();
    }
    Ok(images)
}

/// Every image with its names, by creation time, youngest first. Images of other platforms, which have their name through an
/// index alone, are no lines of their own.
pub(crate) fn summaries(db: &Connection) -> Result<Vec<ImageSummary>> {
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    let mut came_with: BTreeMap<Digest, BTreeMap<Reference, CameWith>> = BTreeMap::new();
    for tag in all_tags(db)? {
        if tag.came_with.manifest.is_some() {
            came_with.entry(tag.image.clone()).or_default().insert(tag.reference.clone(), tag.came_with);
        }
        names.entry(tag.image).or_default().push(tag.reference);
    }
    let mut digests: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    for (name, image) in remote::all_names(db)? {
        digests.entry(image).or_default().push(name);
    }
    let mut list_names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    let tagged: BTreeSet<&Reference> = names.values().flatten().collect();
    // A name that an image has means that image.
    for (name, list) in lists::all(db)?.into_iter().filter(|(name, _)| !tagged.contains(name)) {
        if let Some(image) = lists::native(db, &list)? {
            list_names.entry(image).or_default().push(name);
        }
    }
    let mut others = remote::images_of_others(db)?;
    others.retain(|image| !list_names.contains_key(image));
    let counts = collect(db, "SELECT image, count(*) FROM containers GROUP BY image", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    let counts: BTreeMap<String, u64> = counts.into_iter().collect();
    let mut images: Vec<ImageSummary> = all(db)?
        .into_iter()
        .filter(|row| !others.contains(&row.id))
        .map(|row| ImageSummary {
            references: names.remove(&row.id).unwrap_or_default(),
            digests: digests.remove(&row.id).unwrap_or_default(),
            lists: list_names.remove(&row.id).unwrap_or_default(),
            came_with: came_with.remove(&row.id).unwrap_or_default(),
            containers: counts.get(row.id.as_str()).copied().unwrap_or_default(),
            id: row.id,
            manifest: row.manifest,
            created: row.created,
            size: row.size,
            labels: row.labels,
        })
        .collect();
    // A stable sort: images of one time keep the order in which they came into the store, youngest first.
    images.sort_by(|a, b| b.created.cmp(&a.created));
    Ok(images)
}

fn values<'a>(filters: &'a [(String, String)], wanted: &'a str) -> impl Iterator<Item = &'a str> {
    filters.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

/// Docker's rule: the pattern matches the familiar name with its tag, or the familiar repository alone.
pub(crate) fn is_called(reference: &Reference, pattern: &str) -> bool {
    filter::glob(pattern, &reference.familiar()) || filter::glob(pattern, &reference.familiar_repository())
}
