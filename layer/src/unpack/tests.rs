//! Tests of the pipeline: what it computes, what it refuses, and that a failure in any step ends all of them.

use std::io::{self, Read, Write};

use super::*;
use crate::apply::Whiteouts;
use crate::compression::Encoder;
use crate::error::ErrorKind;
use crate::fixture::{Root, Tar, skipped_unless_root};

/// Announces something, given a wrong digest and the right size.
type Announce = fn(&mut Unpack<'_>, &Digest, u64);

/// Whether an error is the right one.
type Expect = fn(&Error) -> bool;

fn compress(compression: Compression, tar: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(compression, None, Vec::new()).unwrap();
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

/// Larger than all buffers of the pipeline together, and hard to compress.
fn large() -> Vec<u8> {
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let content: Vec<u8> = noise.take(9_000_000).collect();
    Tar::new().add("large", &content, |_| {}).dir("d").file("d/f", "text").finish()
}

fn target(root: &Root) -> Option<Target<'_>> {
    Some(Target { root: root.fd(), merged: None, whiteouts: Whiteouts::Direct })
}

#[test]
fn privileged_digests_sizes_and_files_agree_for_every_compression() {
    if skipped_unless_root() {
        return;
    }
    let tar = large();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let packed = compress(compression, &tar);
        let (root, mut kept) = (Root::new(), Vec::new());
        let mut source = &packed[..];
        let unpacked = unpack(Unpack {
            target: target(&root),
            blob: Some(&mut kept),
            expected_digest: Some(Digest::sha256_of(&packed)),
            expected_size: Some(packed.len() as u64),
            expected_diff_id: Some(DiffId(Digest::sha256_of(&tar))),
            ..Unpack::new(&mut source)
        })
        .unwrap();
        assert!(kept == packed, "{compression}: the blob is not the source");
        assert_eq!((unpacked.blob, unpacked.blob_size), (Digest::sha256_of(&packed), packed.len() as u64));
        assert_eq!((unpacked.diff_id.0, unpacked.diff_size), (Digest::sha256_of(&tar), tar.len() as u64));
        assert_eq!(unpacked.compression, compression);
        assert_eq!(unpacked.applied.unwrap().entries, 3);
        let size = fs_err::metadata(root.path("large")).unwrap().len();
        assert_eq!((size, root.text("d/f")), (9_000_000, "text".to_owned()));
    }
}

#[test]
fn a_layer_can_be_verified_without_a_target() {
    let tar = large();
    let packed = compress(Compression::Zstd, &tar);
    let mut source = &packed[..];
    let unpacked = unpack(Unpack::new(&mut source)).unwrap();
    assert_eq!((unpacked.diff_id.0, unpacked.applied), (Digest::sha256_of(&tar), None));
}

#[test]
fn sha512_is_computed_where_it_is_expected() {
    let tar = Tar::new().file("f", "x").finish();
    let mut hasher = Hasher::with(Algorithm::Sha512);
    hasher.update(&tar);
    let expected = hasher.finish();
    let mut source = &tar[..];
    let request = Unpack { expected_digest: Some(expected.clone()), ..Unpack::new(&mut source) };
    let unpacked = unpack(request).unwrap();
    assert_eq!((unpacked.blob, unpacked.diff_id.0), (expected, Digest::sha256_of(&tar)));
}

#[test]
fn padding_after_the_archive_is_part_of_the_digest() {
    let mut tar = Tar::new().file("f", "x").finish();
    tar.resize(tar.len() + 3_000_000, 0);
    let root = Root::new();
    let mut source = &tar[..];
    let request = Unpack { target: target(&root), ..Unpack::new(&mut source) };
    let unpacked = unpack(request).unwrap();
    assert_eq!((unpacked.diff_id.0, unpacked.diff_size), (Digest::sha256_of(&tar), tar.len() as u64));
}

#[test]
fn what_is_not_as_announced_is_refused() {
    let tar = Tar::new().file("f", "x").finish();
    let other = Digest::sha256_of(b"other");
    for compression in [Compression::None, Compression::Gzip] {
        let packed = compress(compression, &tar);
        let size = packed.len() as u64;
        let cases: [(&str, Announce); 4] = [
            ("digest", |u, other, _| u.expected_digest = Some(other.clone())),
            ("diff id", |u, other, _| u.expected_diff_id = Some(DiffId(other.clone()))),
            ("longer", |u, _, size| u.expected_size = Some(size - 1)),
            ("shorter", |u, _, size| u.expected_size = Some(size + 1)),
        ];
        for (case, change) in cases {
            let root = Root::new();
            let mut source = &packed[..];
            let mut request = Unpack { target: target(&root), ..Unpack::new(&mut source) };
            change(&mut request, &other, size);
            let error = unpack(request).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{case} ({compression}): {error}");
        }
    }
}

#[test]
fn an_endless_source_is_not_read_past_its_announced_size() {
    let mut source = Counted { inner: io::repeat(0), read: 0 };
    let request = Unpack { expected_size: Some(1000), ..Unpack::new(&mut source) };
    assert!(matches!(unpack(request), Err(Error::TooLong { expected: 1000, .. })));
    assert!(source.read <= 1 << 20, "{} bytes were read", source.read);
}

#[test]
fn a_bomb_ends_soon_after_its_bound() {
    let zeros = Tar::new().add("zeros", &vec![0; 40_000_000], |_| {}).finish();
    let bound = 4_000_000;
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = compress(compression, &zeros);
        assert!(packed.len() < 60_000, "{compression}: {}", packed.len());
        let mut source = &packed[..];
        let request = Unpack { max_uncompressed: Some(bound), ..Unpack::new(&mut source) };
        let error = unpack(request).unwrap_err();
        assert!(matches!(error, Error::Limit { limit, .. } if limit == bound), "{compression}: {error}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let mut source = &packed[..];
        let enough = Unpack { max_uncompressed: Some(zeros.len() as u64), ..Unpack::new(&mut source) };
        assert_eq!(unpack(enough).unwrap().diff_size, zeros.len() as u64, "{compression}");
    }
    // What is not compressed is as large as it is.
    let mut source = &zeros[..];
    unpack(Unpack { max_uncompressed: Some(bound), ..Unpack::new(&mut source) }).unwrap();
}

#[test]
fn a_failure_of_any_step_ends_all_and_is_told_as_it_was() {
    let tar = large();
    let gzip = compress(Compression::Gzip, &tar);
    let cut = &gzip[..gzip.len() / 2];
    let mut flipped = gzip.clone();
    flipped[gzip.len() / 2] ^= 0xff;
    let nothing_like_it = compress(Compression::Gzip, &b"no archive".repeat(1_000_000));
    let refused = Tar::new().file("../x", "").add("large", &tar, |_| {}).finish();
    let xz = [&b"\xfd7zXZ\0"[..], &tar].concat();
    let broken = |bytes: &[u8]| bytes.to_vec();
    let cases: Vec<(&str, Vec<u8>, Expect)> = vec![
        ("cut gzip", broken(cut), |e| matches!(e, Error::Decompress { compression: "gzip", .. })),
        ("cut tar", broken(&tar[..tar.len() / 2]), |e| matches!(e, Error::Truncated { .. })),
        ("flipped byte", flipped, |e| e.kind() == ErrorKind::Corrupt),
        ("no archive in gzip", nothing_like_it, |e| matches!(e, Error::NotAnArchive(_))),
        ("refused entry", refused, |e| matches!(e, Error::Refused { .. })),
        ("xz", xz, |e| matches!(e, Error::UnsupportedCompression("xz"))),
        ("empty", Vec::new(), |e| matches!(e, Error::NotAnArchive(_))),
    ];
    for (case, bytes, expected) in cases {
        let root = Root::new();
        let mut source = &bytes[..];
        let request = Unpack { target: target(&root), ..Unpack::new(&mut source) };
        let error = unpack(request).unwrap_err();
        assert!(expected(&error), "{case}: {error:?}");
    }
}

#[test]
fn errors_of_source_and_store_are_told_apart() {
    let tar = large();
    let root = Root::new();
    let mut source = (&tar[..4_000_000]).chain(Broken);
    let request = Unpack { target: target(&root), ..Unpack::new(&mut source) };
    assert!(matches!(unpack(request), Err(Error::Source(e)) if e.kind() == io::ErrorKind::ConnectionReset));
    let (mut source, mut blob) = (&tar[..], Broken);
    let request = Unpack { blob: Some(&mut blob), ..Unpack::new(&mut source) };
    let error = unpack(request).unwrap_err();
    assert!(matches!(&error, Error::Blob(_)) && error.kind() == ErrorKind::NoSpace, "{error:?}");
}

struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// A connection that breaks off, and a disk that is full.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
