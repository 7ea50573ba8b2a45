//! `images`: the list of images, from kept figures alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mica_layer::Digest;
use rusqlite::Connection;

use crate::filter;
use crate::store::images::{all, all_tags, collect, resolve};
use crate::{Engine, Reference, Result};

/// One image as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The image's ID.
    pub id: Digest,
    /// Its names, sorted; empty for a dangling image.
    pub references: Vec<Reference>,
    /// Digest of the manifest it came with, when it came with one.
    pub manifest: Option<Digest>,
    /// RFC 3339, as the config has it.
    pub created: Option<String>,
    /// Bytes of file content in all layers.
    pub size: u64,
    /// Number of containers made from it.
    pub containers: u64,
    /// Labels of the config.
    pub labels: BTreeMap<String, String>,
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
            image.references.retain(|reference| patterns.iter().any(|pattern| is_called(reference, pattern)));
        }
        images.retain(|image| !image.references.is_empty());
    }
    for (name, value) in filters {
        let keep: Box<dyn Fn(&ImageSummary) -> bool> = match name.as_str() {
            "dangling" => {
                let wanted = filter::boolean(name, value)?;
                Box::new(move |image| image.references.is_empty() == wanted)
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

/// Every image with its names, by creation time, youngest first.
pub(crate) fn summaries(db: &Connection) -> Result<Vec<ImageSummary>> {
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    for (reference, image, _) in all_tags(db)? {
        names.entry(image).or_default().push(reference);
    }
    let counts = collect(db, "SELECT image, count(*) FROM containers GROUP BY image", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    let counts: BTreeMap<String, u64> = counts.into_iter().collect();
    let mut images: Vec<ImageSummary> = all(db)?
        .into_iter()
        .map(|row| ImageSummary {
            references: names.remove(&row.id).unwrap_or_default(),
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
fn is_called(reference: &Reference, pattern: &str) -> bool {
    filter::glob(pattern, &reference.familiar()) || filter::glob(pattern, &reference.familiar_repository())
}
