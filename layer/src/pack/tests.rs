//! Tests of packing: what other programs read of it, that threads do not change it, and how it fails.

use std::process::{Command, Stdio};

use super::*;
use crate::compression::Decoder;

/// Bytes without any order, the same for the same seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64 ^ seed;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Text that compresses and noise that does not, in pieces of half a kilobyte to half a block, of any length.
fn content(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 300_000);
    for piece in 0.. {
        if bytes.len() >= length {
            break;
        }
        bytes.extend(noise(piece, 512 << (piece % 10)));
        bytes.extend_from_slice(
            format!("/usr/share/doc/{}/copyright\n", piece % 977).repeat(40 << (piece % 7)).as_bytes(),
        );
    }
    bytes.truncate(length);
    bytes
}

fn packed(bytes: &[u8], packing: Packing, threads: usize) -> (Vec<u8>, Packed) {
    let mut out = Vec::new();
    let packed = pack(&mut &bytes[..], packing, threads, &mut out).unwrap();
    (out, packed)
}

const PACKINGS: [Packing; 6] =
    [Packing::None, Packing::Gzip(1), Packing::Gzip(6), Packing::Gzip(9), Packing::Zstd(1), Packing::Zstd(3)];

#[test]
fn what_is_packed_is_read_back_and_known() {
    // Around the size of a block, and several of them.
    for length in [0, 1, 1000, 524_287, 524_288, 524_289, 3_000_000] {
        let bytes = content(length);
        for packing in PACKINGS {
            let (out, packed) = packed(&bytes, packing, 3);
            assert_eq!(packed.digest, Digest::sha256_of(&out), "{packing} {length}");
            assert_eq!(packed.diff_id.0, Digest::sha256_of(&bytes), "{packing} {length}");
            assert_eq!((packed.size, packed.diff_size), (out.len() as u64, length as u64), "{packing}");
            let mut back = Vec::new();
            let mut decoder = Decoder::new(&out[..]).unwrap();
            if length > 0 {
                assert_eq!(decoder.compression(), packing.compression());
            }
            decoder.read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{packing} {length}");
        }
    }
}

#[test]
fn threads_do_not_change_the_bytes() {
    let bytes = content(20_000_000);
    for packing in PACKINGS {
        let (one, _) = packed(&bytes, packing, 1);
        for threads in [2, 3, 7] {
            assert!(packed(&bytes, packing, threads).0 == one, "{packing} on {threads} threads");
        }
    }
}

#[test]
fn what_does_not_compress_hardly_grows() {
    for length in [100_000, 524_288, 1_500_000] {
        for level in [1, 6, 9] {
            let (out, _) = packed(&noise(1, length), Packing::Gzip(level), 2);
            assert!(out.len() < length + length / 1000, "{} of {length} at level {level}", out.len());
        }
    }
}

#[test]
fn gzip_of_blocks_is_hardly_larger_than_that_of_one_stream() {
    let bytes = content(5_000_000);
    let (out, _) = packed(&bytes, Packing::Gzip(6), 2);
    let mut whole = crate::Encoder::new(Compression::Gzip, Some(6), Vec::new()).unwrap();
    whole.write_all(&bytes).unwrap();
    let whole = whole.finish().unwrap().len();
    assert!(out.len() < whole + whole / 50, "{} against {whole}", out.len());
}

#[test]
fn other_programs_take_it() {
    let bytes = content(3_000_000);
    for (program, packing) in [("gzip", Packing::Gzip(6)), ("gzip", Packing::Gzip(1)), ("zstd", Packing::Zstd(3))] {
        let (out, _) = packed(&bytes, packing, 4);
        for action in ["-t", "-dc"] {
            let mut command = Command::new(program);
            command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped());
            let Ok(mut child) = command.spawn() else {
                assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "`{program}` is not installed");
                return;
            };
            let mut stdin = child.stdin.take().unwrap();
            let read = std::thread::scope(|scope| {
                scope.spawn(|| {
                    stdin.write_all(&out).unwrap();
                    drop(stdin);
                });
                child.wait_with_output().unwrap()
            });
            assert!(read.status.success(), "{program} {action} of {packing}");
            assert!(action == "-t" || read.stdout == bytes, "{program} {action} of {packing}");
        }
    }
}

#[test]
fn failures_of_either_end_are_told() {
    struct Breaks(usize);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::ConnectionReset)?;
            buffer.fill(7);
            Ok(buffer.len())
        }
    }
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bytes = content(8_000_000);
    for packing in PACKINGS {
        let error = pack(&mut Breaks(4), packing, 2, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Source(ref why) if why.kind() == io::ErrorKind::ConnectionReset), "{error:?}");
        let error = pack(&mut &bytes[..], packing, 2, &mut Full(100_000)).unwrap_err();
        assert!(matches!(error, Error::Sink(ref why) if why.kind() == io::ErrorKind::StorageFull), "{error:?}");
    }
}

#[test]
fn packings_are_written_with_and_without_a_level() {
    for (text, packing) in [
        ("none", Packing::None),
        ("gzip", Packing::default()),
        ("gzip:1", Packing::Gzip(1)),
        ("zstd", Packing::Zstd(3)),
        ("zstd:19", Packing::Zstd(19)),
    ] {
        assert_eq!(text.parse(), Ok(packing), "{text}");
        assert_eq!(packing.to_string().parse(), Ok(packing), "{text}");
    }
    for text in ["", "none:1", "gzip:0", "gzip:10", "gzip:", "zstd:23", "zstd:-1", "xz", "zstd:chunked"] {
        assert!(text.parse::<Packing>().is_err(), "{text}");
    }
}
