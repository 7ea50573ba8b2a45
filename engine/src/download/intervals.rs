//! Which bytes of a partial file are there, and the note of it that outlives its process. Pure values.
//!
//! The note is a claim that is never trusted further than to save a download: the whole blob is verified against its digest,
//! and one that turns out wrong is fetched again from its first byte. It ends with a digest of itself, because a process may
//! be killed while it writes it.

use std::ops::Range;

use mica_layer::Digest;

/// The most intervals that a note holds; with more the smallest are forgotten.
const INTERVALS_MAX: usize = 4096;

/// Ranges of bytes, in order, none touching another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intervals(Vec<Range<u64>>);

impl Intervals {
    /// Adds a range.
    pub(crate) fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.end < range.start);
        let last = self.0.partition_point(|known| known.start <= range.end);
        let merged = match self.0.get(first..last) {
            Some([head, .., tail]) => range.start.min(head.start)..range.end.max(tail.end),
            Some([only]) => range.start.min(only.start)..range.end.max(only.end),
            _ => range,
        };
        self.0.splice(first..last, [merged]);
    }

    /// How far the bytes reach from `from` on without a gap.
    pub(crate) fn reach(&self, from: u64) -> u64 {
        let at = self.0.partition_point(|known| known.end <= from);
        self.0.get(at).filter(|known| known.start <= from).map_or(from, |known| known.end)
    }

    /// What is missing of the first `size` bytes, in order.
    pub(crate) fn gaps(&self, size: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for known in &self.0 {
            if known.start > at {
                gaps.push(at..known.start.min(size));
            }
            at = at.max(known.end);
        }
        if at < size {
            gaps.push(at..size);
        }
        gaps
    }

    /// How many bytes are there.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|known| known.end - known.start).sum()
    }

    /// The note for a blob of `size` bytes.
    pub(crate) fn note(&self, size: u64) -> Vec<u8> {
        let mut kept = self.0.clone();
        if kept.len() > INTERVALS_MAX {
            kept.sort_by_key(|known| std::cmp::Reverse(known.end - known.start));
            kept.truncate(INTERVALS_MAX);
            kept.sort_by_key(|known| known.start);
        }
        let mut lines = format!("{size}\n");
        for known in kept {
            lines.push_str(&format!("{}-{}\n", known.start, known.end));
        }
        let digest = Digest::sha256_of(lines.as_bytes());
        lines.push_str(&format!("{digest}\n"));
        lines.into_bytes()
    }

    /// Reads a note; one that is damaged, or of a blob of another size, says that nothing is there. What stands behind its
    /// digest is left of a longer one that it was written over.
    pub(crate) fn read(note: &[u8], size: u64) -> Intervals {
        Self::try_read(note, size).unwrap_or_default()
    }

    fn try_read(note: &[u8], size: u64) -> Option<Intervals> {
        let text = std::str::from_utf8(note).ok()?;
        let (lines, rest) = text.split_at(text.find("sha256:")?);
        let (digest, _) = rest.split_once('\n')?;
        if Digest::sha256_of(lines.as_bytes()).as_str() != digest {
            return None;
        }
        let mut lines = lines.lines();
        if lines.next()?.parse() != Ok(size) {
            return None;
        }
        let mut intervals = Intervals::default();
        for line in lines {
            let (start, end) = line.split_once('-')?;
            let range = start.parse().ok()?..end.parse().ok()?;
            if range.end > size {
                return None;
            }
            intervals.add(range);
        }
        Some(intervals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranges: &[Range<u64>]) -> Intervals {
        let mut intervals = Intervals::default();
        ranges.iter().for_each(|range| intervals.add(range.clone()));
        intervals
    }

    #[test]
    fn ranges_merge_where_they_touch() {
        let gaps = |ranges: &[Range<u64>]| of(ranges).gaps(100);
        assert_eq!(gaps(&[]), vec![0..100; 1]);
        assert_eq!(gaps(&[0..50, 50..100]), []);
        assert_eq!(gaps(&[10..20, 30..40]), [0..10, 20..30, 40..100]);
        assert_eq!(gaps(&[30..40, 10..20, 20..30]), [0..10, 40..100]);
        assert_eq!(gaps(&[0..10, 90..100, 5..95]), []);
        assert_eq!(gaps(&[10..20, 12..15, 7..7]), [0..10, 20..100]);
        let intervals = of(&[0..10, 20..30]);
        assert_eq!(
            (intervals.reach(0), intervals.reach(5), intervals.reach(10), intervals.reach(20)),
            (10, 10, 10, 30)
        );
        assert_eq!(intervals.total(), 20);
    }

    #[test]
    fn the_same_bytes_are_there_as_in_a_plain_set() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut there = [false; 64];
            let mut intervals = Intervals::default();
            for _ in 0..random.usize(0..20) {
                let start = random.u64(0..64);
                let end = random.u64(start..=64);
                intervals.add(start..end);
                there[start as usize..end as usize].fill(true);
            }
            let missing: Vec<u64> = intervals.gaps(64).into_iter().flatten().collect();
            let expected: Vec<u64> = (0..64).filter(|&byte| !there[byte as usize]).collect();
            assert_eq!(missing, expected, "{intervals:?}");
            assert_eq!(Intervals::read(&intervals.note(64), 64), intervals);
        }
    }

    #[test]
    fn a_damaged_note_says_nothing() {
        let note = of(&[0..10, 20..30]).note(100);
        assert_eq!(Intervals::read(&note, 101), Intervals::default());
        for cut in 0..note.len() {
            assert_eq!(Intervals::read(&note[..cut], 100), Intervals::default());
            let mut flipped = note.clone();
            flipped[cut] ^= 1;
            assert_eq!(Intervals::read(&flipped, 100), Intervals::default());
        }
    }

    #[test]
    fn a_note_may_be_shorter_than_the_one_it_was_written_over() {
        let (long, short) = (of(&[0..10, 20..30, 40..50]).note(100), of(&[0..20, 20..50]).note(100));
        let over = [&short[..], &long[short.len()..]].concat();
        assert_eq!(Intervals::read(&over, 100), of(&[0..20, 20..50]));
    }
}
