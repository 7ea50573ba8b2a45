//! Image archives with their manifests and indexes, and image configs.

use std::io::Write as _;

use mica_engine::image::ImageConfig;
use mica_engine::ops::load::names_in;

/// Reads what an archive says it holds.
pub(crate) fn images(bytes: &[u8]) {
    let mut file = tempfile::tempfile().expect("a file without a name");
    file.write_all(bytes).expect("room for it");
    if let Ok(images) = names_in(file) {
        assert!(!images.is_empty(), "an archive without images is an error");
    }
}

/// A config that was understood is understood again as the same after it is written.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) else { return };
    let written = serde_json::to_vec(&config).expect("a config is plain data");
    let again: ImageConfig = serde_json::from_slice(&written).expect("written by us");
    assert_eq!(again, config);
}
