//! Finding what deflate would not make smaller: media, archives in the archive, keys. Deflate takes three times as long over
//! such bytes as over text, to end with what it began with.
//!
//! Bytes are dense when all of them are about equally frequent, so that shorter codes for frequent ones gain nothing, and
//! when they do not repeat, so that references to earlier ones gain nothing either. The first is counted, the second is sampled.
//! Everything here depends on the bytes alone, because it decides what a layer is packed to.

use std::ops::Range;

/// What is looked at as one. Smaller ones find the ends of files better, and tell dense bytes from others worse.
const WINDOW: usize = 1024;
/// Half of the words of a window are counted, and which is the sequence of Thue and Morse: with any simple step, tables of numbers
/// whose every second column is noise would pass for noise.
const WORDS: [usize; 8] = [0, 3, 5, 6, 9, 10, 12, 15];
const WORD: usize = 8;
const STEP: usize = 16 * WORD;
/// Dense windows in a row that are worth a member of their own: each costs some hundred bytes, and what follows it cannot refer
/// to what came before. Half as many make a /usr larger by four thousandths in place of two.
const STRETCH: usize = 8 * 1024;

/// How much of a window is looked at first: text and machine code are told by that.
const START: usize = 2 * STEP;
/// Of so many pairs of bytes one has the same byte twice, at least: of 256 where all are equally frequent, of 208 where they have
/// an entropy of 7.7 bits, so that codes for them would save a twenty-sixth. The start of a window says less, and is asked for less.
const PAIRS: usize = 208;
const PAIRS_AT_START: usize = 90;

/// The byte behind which repetitions are looked for, wherever it is: the same places in both copies, whatever is between.
const ANCHOR: u8 = 0xc3;
/// How far back deflate can refer.
const REACH: usize = 32 * 1024;
/// Of so many anchors one may repeat.
const REPEATS: usize = 32;

/// The dense stretches of a block, in order; never two without something between.
pub(super) fn stretches(block: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut close = |start: usize, end: usize| {
        if end - start >= STRETCH && !repeats(&block[start..end]) {
            found.push(start..end);
        }
    };
    let windows = block.chunks_exact(WINDOW);
    let whole = block.len() - windows.remainder().len();
    for (number, window) in windows.enumerate() {
        if !is_even(window) {
            close(start, number * WINDOW);
            start = (number + 1) * WINDOW;
        }
    }
    close(start, whole);
    found
}

/// True when all bytes are about equally frequent.
fn is_even(window: &[u8]) -> bool {
    let (start, rest) = window.split_at(START);
    let mut counts = Counts([[0; 256]; 2]);
    counts.add(start);
    if counts.squares() > squares_of(START / 2, PAIRS_AT_START) {
        return false;
    }
    counts.add(rest);
    counts.squares() <= squares_of(WINDOW / 2, PAIRS)
}

/// The sum of the squares of counts, when each of so many bytes meets itself and one of so many others: 1534 for a window without
/// any order, give or take 45, and some thousands for text.
const fn squares_of(bytes: usize, pairs: usize) -> usize {
    bytes + bytes * (bytes - 1) / pairs
}

/// How often each byte was met. Two tables, because a count that has just been written is slow to read.
struct Counts([[u16; 256]; 2]);

impl Counts {
    fn add(&mut self, bytes: &[u8]) {
        let [even, odd] = &mut self.0;
        for step in bytes.chunks_exact(STEP) {
            for word in WORDS {
                for pair in step[word * WORD..][..WORD].chunks_exact(2) {
                    even[usize::from(pair[0])] += 1;
                    odd[usize::from(pair[1])] += 1;
                }
            }
        }
    }

    fn squares(&self) -> usize {
        let [even, odd] = &self.0;
        let sum: u32 = even.iter().zip(odd).map(|(a, b)| u32::from(a + b) * u32::from(a + b)).sum();
        sum as usize
    }
}

/// True when so much of a stretch comes twice that references to it are worth having.
fn repeats(stretch: &[u8]) -> bool {
    const SLOTS: usize = 512;
    let mut last: [Option<(u32, usize)>; SLOTS] = [None; SLOTS];
    let (mut seen, mut repeated) = (0, 0);
    for at in memchr::memchr_iter(ANCHOR, stretch) {
        let Some((next, _)) = stretch[at + 1..].split_first_chunk() else { break };
        let next = u32::from_le_bytes(*next);
        // The upper bits of a product depend on all of a factor's (Fibonacci hashing).
        let slot = &mut last[(next.wrapping_mul(0x9e37_79b1) >> 23) as usize];
        seen += 1;
        if slot.is_some_and(|(before, there)| before == next && at - there < REACH) {
            repeated += 1;
        }
        *slot = Some((next, at));
    }
    repeated * REPEATS > seen
}

#[cfg(test)]
mod tests;
