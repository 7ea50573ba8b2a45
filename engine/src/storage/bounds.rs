//! How far a compressed layer or archive may expand: far beyond what real ones do, and far from what fills a disk.
//!
//! Deflate cannot exceed 1032 to 1 and zstd can by far, so a few kilobytes can ask for terabytes. A ratio alone would refuse
//! small layers of zeros, which are harmless; below a size nothing is refused.

use crate::{Error, Kind};

/// Bounds on what comes from strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBounds {
    /// The size in bytes up to which an uncompressed layer may be any multiple of its blob.
    pub size: u64,
    /// The multiple of its blob that a larger one may be.
    pub expansion: u64,
    /// The most files of one layer.
    pub entries: u64,
}

impl Default for LayerBounds {
    fn default() -> LayerBounds {
        LayerBounds { size: 4 << 30, expansion: 1000, entries: 10_000_000 }
    }
}

impl LayerBounds {
    /// The most bytes that so many compressed ones may become.
    pub(crate) fn bytes_of(&self, compressed: u64) -> u64 {
        compressed.saturating_mul(self.expansion).max(self.size)
    }

    /// The refusal of `what`, which is more than its bound.
    pub(crate) fn exceeded(&self, what: &str, limit: &mica_layer::Error) -> Error {
        let (amount, setting) = match limit {
            mica_layer::Error::Limit { what: "entries", limit } => (format!("more than {limit} files"), "entries"),
            mica_layer::Error::Limit { limit, .. } => {
                (format!("more than {limit} bytes when it is uncompressed"), "size")
            }
            other => (other.to_string(), "size"),
        };
        Error::refused(Kind::InvalidInput, format!("{what} has {amount}, so it was not unpacked any further"))
            .with_hint(format!("if it is to be trusted, raise `images.layer_{setting}` in the config"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_layers_may_be_any_multiple_and_large_ones_a_large_one() {
        let bounds = LayerBounds { size: 1 << 20, expansion: 100, entries: 1 };
        for (compressed, most) in [(0, 1 << 20), (100, 1 << 20), (1 << 20, 100 << 20), (u64::MAX, u64::MAX)] {
            assert_eq!(bounds.bytes_of(compressed), most, "{compressed}");
        }
    }
}
