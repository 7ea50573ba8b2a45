//! Values of the engine in Docker's shapes: rows of listings and the JSON of `inspect`.

pub mod container;
pub mod host_config;
pub mod image;
pub mod row;

use serde_json::{Map, Value};

/// A row of a listing.
pub type Row = Map<String, Value>;

/// Makes a row of fields.
fn row<const N: usize>(fields: [(&str, Value); N]) -> Row {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// An ID as listings show it: whole, or twelve digits without the algorithm.
fn short_id(id: &str, whole: bool) -> String {
    if whole {
        return id.to_owned();
    }
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.chars().take(12).collect()
}
