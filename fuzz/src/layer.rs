//! Layer archives: whatever they hold, nothing outside the root they are applied to is touched.

use std::os::fd::AsFd;
use std::path::Path;

use mica_layer::{Applied, Limits, Result, Target, Unpack, Whiteouts, apply, unpack};
use rustix::fs::{Mode, OFlags};

/// Small enough for thousands of runs a second.
const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_entries: 256 };

/// An uncompressed archive.
pub(crate) fn plain(bytes: &[u8]) {
    guarded(|target| apply(bytes, target, &LIMITS));
}

/// An archive that may be compressed.
pub(crate) fn compressed(bytes: &[u8]) {
    guarded(|target| {
        let mut source = bytes;
        let mut request = Unpack::new(&mut source);
        request.target = Some(*target);
        request.limits = LIMITS;
        unpack(request).map(|unpacked| unpacked.applied.unwrap_or_default())
    });
}

/// Applies to a root beside which lies a file that nothing may change.
fn guarded(apply: impl FnOnce(&Target<'_>) -> Result<Applied>) {
    let ground = tempfile::tempdir().expect("a directory for temporary files");
    let root = ground.path().join("root");
    let outside = ground.path().join("outside");
    fs_err::create_dir(&root).expect("a fresh name");
    fs_err::write(&outside, "untouched").expect("a fresh name");
    let opened = rustix::fs::open(&root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = opened.expect("made above");
    let target = Target { root: opened.as_fd(), merged: None, whiteouts: Whiteouts::OverlayTrusted };
    if let Ok(applied) = apply(&target) {
        assert!(applied.entries <= LIMITS.max_entries && applied.bytes <= LIMITS.max_bytes, "{applied:?}");
    }
    assert_eq!(fs_err::read(&outside).expect("made above"), b"untouched");
    assert_eq!(names(ground.path()), ["outside", "root"]);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).expect("a directory of ours");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a directory of ours").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
