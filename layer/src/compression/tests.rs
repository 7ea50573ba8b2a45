//! Tests of compression: detection, damage, and what is refused.

use std::io::{Read, Write};

use super::*;

fn compress(compression: Compression, content: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(compression, None, Vec::new()).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn decompress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Decoder::new(bytes).map_err(std::io::Error::other)?.read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn compression_is_told_from_content() {
    for (first, expected) in [
        (&b""[..], Ok(Compression::None)),
        (b"\x1f", Ok(Compression::None)),
        (b"\x1f\x8b\x08", Ok(Compression::Gzip)),
        (b"\x28\xb5\x2f\xfd", Ok(Compression::Zstd)),
        (b"\x5a\x2a\x4d\x18", Ok(Compression::Zstd)),
        (b"layer.tar", Ok(Compression::None)),
        (b"\xfd7zXZ\0", Err("xz")),
        (b"BZh91AY&SY", Err("bzip2")),
    ] {
        let found = Compression::detect(first);
        match expected {
            Ok(compression) => assert_eq!(found.unwrap(), compression, "{first:?}"),
            Err(name) => assert!(found.unwrap_err().to_string().contains(name), "{first:?}"),
        }
    }
}

#[test]
fn streams_are_read_back() {
    let content: Vec<u8> = (0..300_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let packed = compress(compression, &content);
        assert_eq!(Compression::detect(&packed).unwrap(), compression);
        assert!(decompress(&packed).unwrap() == content, "{compression}");
        assert_eq!(packed, compress(compression, &content), "{compression} is not deterministic");
        assert_eq!(decompress(&compress(compression, b"")).unwrap(), b"", "{compression}");
    }
}

#[test]
fn several_members_are_one_stream_and_anything_else_after_them_is_an_error() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let (one, two) = (compress(compression, b"one"), compress(compression, b"two"));
        assert_eq!(decompress(&[&one[..], &two].concat()).unwrap(), b"onetwo", "{compression}");
        for tail in [&b"garbage that is no member"[..], b"x", &two[..two.len() - 2], &[0; 10]] {
            let result = decompress(&[&one[..], tail].concat());
            assert!(result.is_err(), "{compression} followed by {tail:?}: {result:?}");
        }
    }
}

/// A frame that decoders skip (RFC 8878, section 3.1.2).
fn skippable(content: &[u8]) -> Vec<u8> {
    [&[0x50, 0x2a, 0x4d, 0x18], &u32::try_from(content.len()).unwrap().to_le_bytes()[..], content].concat()
}

/// A gzip member of nothing with an extra field, as eStargz has at its end (RFC 1952, section 2.3.1.1).
fn footer() -> Vec<u8> {
    let extra = b"SG\x16\x000000000000000200STARGZ";
    let mut member = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    member.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
    member.extend(extra);
    // An empty stored block, then the checksum and the length of nothing.
    member.extend([1, 0, 0, 0xff, 0xff]);
    member.extend([0; 8]);
    member
}

#[test]
fn layers_made_for_lazy_pulls_are_ordinary_streams() {
    let parts = [&b"one"[..], b"", b"two", &[7; 200_000], b"the list"];
    let content = parts.concat();
    let pieces = |compression| parts.iter().flat_map(move |part| compress(compression, part));
    // zstd:chunked: a frame for each file, and lists and a footer in frames that are skipped.
    let mut chunked: Vec<u8> = pieces(Compression::Zstd).collect();
    chunked.extend(skippable(&compress(Compression::Zstd, b"{\"version\":1}")));
    chunked.extend(skippable(b"tar split"));
    chunked.extend(skippable(&[[0; 56].as_slice(), b"GNUlInUx"].concat()));
    assert!(decompress(&chunked).unwrap() == content);
    let leading = [skippable(b"first"), chunked].concat();
    assert_eq!(Compression::detect(&leading).unwrap(), Compression::Zstd);
    assert!(decompress(&leading).unwrap() == content);
    // eStargz: a member for each file and a footer.
    let stargz: Vec<u8> = pieces(Compression::Gzip).chain(footer()).collect();
    assert!(decompress(&stargz).unwrap() == content);
}

#[test]
fn damage_is_an_error() {
    let content = b"some content".repeat(1000);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = compress(compression, &content);
        for cut in [1, packed.len() / 2, packed.len() - 1] {
            let result = decompress(&packed[..cut]);
            assert!(cut == 1 || result.is_err(), "{compression} cut to {cut} bytes");
        }
    }
    let mut wrong_sum = compress(Compression::Gzip, &content);
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    assert!(decompress(&wrong_sum).is_err());
}

#[test]
fn a_zstd_window_of_more_than_128_mib_is_refused() {
    // A frame header that asks for 2^28 and for 2^27 bytes (exponent in the upper five bits, from 2^10), and an empty
    // last block.
    let frame = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0];
    assert_eq!(decompress(&frame(27)).unwrap(), b"");
    let error = decompress(&frame(28)).unwrap_err();
    assert!(error.to_string().contains("memory") || error.to_string().contains("indow"), "{error}");
}
