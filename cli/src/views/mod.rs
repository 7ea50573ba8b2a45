//! Values of the engine in Docker's shapes: rows of listings and the JSON of `inspect`.

pub mod container;
pub mod disk;
pub mod host_config;
pub mod host_limits;
pub mod image;
mod mounts;
pub mod network;
pub mod registries;
pub mod remote_image;
pub mod row;
pub mod tree;
pub mod usage;
pub mod volume;

use serde_json::{Map, Value};

use crate::output::listing::Shown;

/// A row of a listing.
pub type Row = Map<String, Value>;

/// Makes a row of fields.
fn row<const N: usize>(fields: [(&str, Value); N]) -> Row {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Makes a row of those fields that somebody looks at.
fn row_of<const N: usize>(shown: &Shown, fields: [(&str, &dyn Fn() -> Value); N]) -> Row {
    let made = fields.into_iter().filter(|(name, _)| shown.has(name));
    made.map(|(name, value)| (name.to_owned(), value())).collect()
}

/// An ID as listings show it: whole, or twelve digits without the algorithm.
fn short_id(id: &str, whole: bool) -> String {
    if whole {
        return id.to_owned();
    }
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.chars().take(12).collect()
}
