//! One block of a layer as gzip members (RFC 1952): what is dense goes as it is, in stored blocks, and only the rest is deflated.
//!
//! libdeflate makes whole streams and cannot be told to leave one open, so a dense stretch begins a member, which its stored
//! blocks open (RFC 1951 section 3.2.4) and the stream of what follows closes. Thus there is one member for each dense stretch,
//! and one for what comes before the first.

use std::io;

use libdeflater::{CompressionLvl, Compressor, crc32};

use super::dense;

/// The most bytes of a stored block.
const STORED: usize = u16::MAX as usize;

/// Makes members, of which it keeps nothing from one block to the next.
pub(super) struct Members {
    compressor: Compressor,
    header: [u8; 10],
    deflated: Vec<u8>,
}

impl Members {
    /// At a level from 1 to 9.
    pub fn new(level: u32) -> Members {
        let level = level.clamp(1, 9);
        let known = i32::try_from(level).ok().and_then(|level| CompressionLvl::new(level).ok());
        // How hard was tried is told, as libdeflate tells it: 4 for the least, 2 for the most.
        let effort = match level {
            1 => 4,
            8.. => 2,
            _ => 0,
        };
        // Deflate, no extra fields, no time, no system: nothing that differs between machines.
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 255];
        Members { compressor: Compressor::new(known.unwrap_or_default()), header, deflated: Vec::new() }
    }

    /// The members of a block; of nothing, one that is empty.
    pub fn of(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(block.len() / 2);
        let (mut from, mut dense) = (0, 0);
        for stretch in dense::stretches(block) {
            if stretch.start > 0 {
                self.member(&block[from..stretch.start], dense, &mut out)?;
            }
            (from, dense) = (stretch.start, stretch.len());
        }
        self.member(&block[from..], dense, &mut out)?;
        Ok(out)
    }

    /// One member, the first so many bytes of which are dense.
    fn member(&mut self, bytes: &[u8], dense: usize, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(&self.header);
        let (dense, rest) = bytes.split_at(dense);
        store(dense, rest.is_empty(), out);
        if dense.is_empty() || !rest.is_empty() {
            let most = self.compressor.deflate_compress_bound(rest.len());
            if self.deflated.len() < most {
                self.deflated.resize(most, 0);
            }
            let length = self.compressor.deflate_compress(rest, &mut self.deflated).map_err(io::Error::other)?;
            out.extend_from_slice(&self.deflated[..length]);
        }
        out.extend_from_slice(&crc32(bytes).to_le_bytes());
        // The size modulo 2^32, and a block is far smaller.
        out.extend_from_slice(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes());
        Ok(())
    }
}

/// Writes stored blocks; the last of them ends the stream where nothing follows.
fn store(bytes: &[u8], is_all: bool, out: &mut Vec<u8>) {
    let mut blocks = bytes.chunks(STORED).peekable();
    while let Some(block) = blocks.next() {
        let [low, high] = u16::try_from(block.len()).unwrap_or(u16::MAX).to_le_bytes();
        // Three bits of head, five to the next byte, the length, and its complement.
        out.extend_from_slice(&[u8::from(is_all && blocks.peek().is_none()), low, high, !low, !high]);
        out.extend_from_slice(block);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;
    use crate::pack::tests::noise;

    /// A piece of a layer: a kind, and a length.
    fn piece((kind, length): (u8, usize)) -> Vec<u8> {
        match kind {
            0 => noise(length as u64, length),
            1 => vec![0; length],
            2 => noise(1, 1000).into_iter().cycle().take(length).collect(),
            _ => b"usr/share/doc/copyright\n".iter().copied().cycle().take(length).collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn members_are_the_block_again(pieces in prop::collection::vec((0_u8..4, 0_usize..50_000), 0..6), level in 1_u32..=9) {
            let block: Vec<u8> = pieces.into_iter().flat_map(piece).collect();
            let mut members = Members::new(level);
            let out = members.of(&block).unwrap();
            prop_assert!(members.of(&block).unwrap() == out, "something is kept from one block to the next");

            let mut back = Vec::new();
            flate2::read::MultiGzDecoder::new(&out[..]).read_to_end(&mut back).unwrap();
            prop_assert!(back == block);

            let mut before = 0;
            for stretch in dense::stretches(&block) {
                prop_assert!(stretch.start > before || (stretch.start, before) == (0, 0));
                prop_assert!(stretch.start < stretch.end && stretch.end <= block.len());
                before = stretch.end;
            }
        }
    }

    #[test]
    fn what_compresses_is_what_libdeflate_makes_of_it() {
        let block = piece((3, 300_000));
        for level in 1..=9 {
            let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
            let mut whole = vec![0; compressor.gzip_compress_bound(block.len())];
            let length = compressor.gzip_compress(&block, &mut whole).unwrap();
            assert!(Members::new(level.unsigned_abs()).of(&block).unwrap() == whole[..length], "level {level}");
        }
    }

    #[test]
    fn dense_stretches_go_as_they_are() {
        // What is before the first is a member, each has one, and what follows belongs to it.
        let noise = noise(1, 102_400);
        let text = piece((3, 2_048));
        let block = [&text[..], &noise, &text, &noise].concat();
        let out = Members::new(1).of(&block).unwrap();
        let heads = |bytes: &[u8]| bytes.windows(4).filter(|four| *four == [0x1f, 0x8b, 8, 0]).count();
        assert_eq!(heads(&out), 3);
        for stored in [&noise[..STORED], &noise[STORED..]] {
            assert_eq!(out.windows(stored.len()).filter(|window| *window == stored).count(), 2);
        }
    }
}
