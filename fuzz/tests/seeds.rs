//! Every target keeps its laws on its seeds and on some thousand mutations of them, the same ones in every run.

use std::path::{Path, PathBuf};

use fastrand::Rng;
use mica_fuzz::TARGETS;

/// Mutations of each seed; each takes microseconds to a millisecond.
const MUTATIONS: usize = 400;

#[test]
fn every_target_has_a_folder_of_seeds_and_every_folder_a_target() {
    let mut folders: Vec<String> = entries(&seeds()).iter().map(|path| name_of(path)).collect();
    folders.sort();
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(folders, names);
}

#[test]
fn laws_hold_on_seeds_and_mutations() {
    for target in TARGETS {
        let seeds: Vec<Vec<u8>> =
            entries(&seeds().join(target.name)).iter().map(|path| fs_err::read(path).unwrap()).collect();
        assert!(!seeds.is_empty(), "`{}` has no seed", target.name);
        let mut rng = Rng::with_seed(0x6d69_6361);
        for seed in &seeds {
            (target.run)(seed);
            for _ in 0..MUTATIONS {
                (target.run)(&mutated(seed, &seeds, &mut rng));
            }
        }
    }
}

/// One to four changes: flipped bits, runs that are cut, doubled or overwritten, and pieces of other seeds.
fn mutated(seed: &[u8], seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.usize(1..=4) {
        if bytes.is_empty() {
            bytes.push(rng.u8(..));
        }
        let at = rng.usize(..bytes.len());
        let end = (at + rng.usize(1..=64)).min(bytes.len());
        match rng.u8(..6) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = *rng.choice(b"\0\n /\\\"'{}[]:@.-*0979\xff").unwrap(),
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            4 => bytes[at..end].fill(rng.u8(..)),
            _ => {
                let other = rng.choice(seeds).unwrap();
                let from = rng.usize(..=other.len());
                let to = (from + rng.usize(..=512)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    bytes
}

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
