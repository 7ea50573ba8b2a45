//! Tests of what is taken for dense: noise and nothing else, wherever it begins and whatever it is mixed with.

use super::*;
use crate::pack::tests::noise;
use crate::{Compression, Encoder};
use std::io::Write as _;

/// Words in lines, as sources and documents have them.
fn text(length: usize) -> Vec<u8> {
    let words = ["layer", "digest", "of", "the", "manifest,", "which", "names", "what", "it", "lists.\n"];
    let picked = noise(7, length).into_iter().map(|byte| words[usize::from(byte) % words.len()]);
    let mut bytes: Vec<u8> = picked.flat_map(|word| [word, " "].concat().into_bytes()).collect();
    bytes.truncate(length);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Compression::Gzip, None, Vec::new()).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Numbers of two words each, the second of which says little.
fn table(columns: usize, length: usize) -> Vec<u8> {
    let mut words = noise(11, length);
    for (number, word) in words.chunks_mut(WORD).enumerate() {
        if number % columns >= columns.div_ceil(2) {
            word.fill(0);
        }
    }
    words
}

#[test]
fn noise_is_dense_and_nothing_else_is() {
    let letters: Vec<u8> =
        noise(3, 100_000).iter().map(|byte| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[usize::from(byte % 32)]).collect();
    let samples: Vec<u8> = noise(5, 100_000).chunks(2).flat_map(|pair| [pair[0], pair[1] % 8]).collect();
    for (what, bytes, expected) in [
        ("nothing", Vec::new(), vec![]),
        ("one byte", vec![7], vec![]),
        ("zeros", vec![0; 300_000], vec![]),
        ("every byte in turn", (0..300_000).map(|number: u32| number.to_le_bytes()[0]).collect(), vec![]),
        ("text", text(300_000), vec![]),
        ("letters", letters, vec![]),
        ("numbers of eleven bits", samples, vec![]),
        ("little noise", noise(1, STRETCH - 1), vec![]),
        ("enough noise", noise(1, STRETCH), vec![(0, STRETCH)]),
        ("much noise", noise(1, 524_288), vec![(0, 524_288)]),
        ("noise without a whole window at its end", noise(1, 100_000), vec![(0, 99_328)]),
        ("noise once more", noise(1, 10_000).repeat(20), vec![]),
        ("noise once more, too far away", noise(1, 100_352).repeat(2), vec![(0, 200_704)]),
        ("noise between text", [text(5_000), noise(1, 50_000), text(5_000)].concat(), vec![(5_120, 54_272)]),
        (
            "noise around text",
            [noise(1, 50_176), text(2_048), noise(2, 50_176)].concat(),
            vec![(0, 50_176), (52_224, 102_400)],
        ),
        ("noise at many places", [noise(1, 3_000), text(2_000)].concat().repeat(20), vec![]),
    ] {
        let found: Vec<_> = stretches(&bytes).into_iter().map(|stretch| (stretch.start, stretch.end)).collect();
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn columns_of_noise_in_a_table_are_not_noise() {
    for columns in 2..64 {
        assert_eq!(stretches(&table(columns, 100_000)), [], "{columns} columns");
    }
}

#[test]
fn archives_in_a_layer_are_dense() {
    let archive = gzip(&text(600_000));
    let dense: usize = stretches(&archive).into_iter().map(|stretch| stretch.len()).sum();
    assert!(dense > archive.len() * 9 / 10, "{dense} of {}", archive.len());
}
